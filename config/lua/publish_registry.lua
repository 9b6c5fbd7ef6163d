-- Replaces the registry's snapshot and tells every process, unless Redis holds a newer one.
-- KEYS: snapshot, generation. ARGV: generation, snapshot JSON, channel.
-- Returns 1 if this snapshot is the one now held, 0 if a newer one is there.
local held = tonumber(redis.call('GET', KEYS[2]) or '0')
local given = tonumber(ARGV[1])
if held ~= nil and held > given and redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
