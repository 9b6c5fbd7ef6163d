-- Worker processes that live, or died so lately that they may still do so.
SELECT id FROM workers WHERE lease_until > now() ORDER BY id
