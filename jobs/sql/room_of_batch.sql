-- What a capped batch may still spend: now, and if all calls in flight turned out to cost nothing.
SELECT room_usd, most_room_usd FROM budgets WHERE batch_id = %(batch_id)s AND NOT paused
