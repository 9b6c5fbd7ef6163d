-- A worker that stops in order leaves no row; jobs that it could not put back are found by that.
DELETE FROM workers WHERE id = %(worker_id)s
