-- One exchange between a worker process and the circuit of one provider: the process says how calls have ended; it hears
-- whether the provider is left alone. docs/decisions/0007-circuit.md says why these figures.
-- KEYS: state. ARGV: report as JSON, see worker/circuit.py. Returns the answer as JSON. Times are milliseconds.
local BUCKET_MS = 250
local ILL = 20             -- so many more calls fail than end well: the provider is ill
local FIRST_MS = 5000      -- so long it is left alone at first, twice as long after each probe that fails
local LONGEST_MS = 60000
local KEEP_MS = 3600000

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local report = cjson.decode(ARGV[1])
local state = { generation = report.generation, score = 0, bucket = 0, net = 0, calls = 0, failed = 0, heard = 0,
                span = 0, ended = 0 }
local kept = redis.call('GET', KEYS[1])
if kept then
  local before = cjson.decode(kept)
  if before.generation == report.generation then
    for name, value in pairs(before) do state[name] = value end
  elseif before.generation > report.generation then
    return cjson.encode({ open = false, wait_ms = 0, probing = false, yours = false })  -- of a definition that is gone
  end
end
local answer = { yours = false }

local function forget()
  state.score, state.net, state.calls, state.failed = 0, 0, 0, 0
end

local function opened(span)
  forget()
  state.span = math.min(LONGEST_MS, math.max(FIRST_MS, span))
  state.until_ms, state.probe = now + state.span, nil
end

-- Page's test: the score goes up by one with each call that failed, down by one with each other, and never below zero. It
-- moves by whole buckets, in which all processes have spoken, and not by the word of the one that happens to speak first;
-- what the bucket that has just begun says can only put it off. No higher than ILL: then good calls soon end the doubt.
local function is_ill()
  if now - state.heard > report.call_ms then forget() end  -- as long as no call takes: nothing of it is about now
  local bucket = math.floor(now / BUCKET_MS)
  if bucket > state.bucket then
    state.score = math.min(ILL, math.max(0, state.score + state.net))
    if state.score == 0 then forget() end
    state.bucket, state.net = bucket, 0
  end
  state.net = state.net + 2 * report.failed - report.calls
  state.calls, state.failed, state.heard = state.calls + report.calls, state.failed + report.failed, now
  return state.score == ILL and state.net >= 0
end

if not state.until_ms then
  if report.calls > 0 and is_ill() then
    answer.event, answer.calls, answer.failed = 'opened', state.calls, state.failed
    opened(now - state.ended < LONGEST_MS and state.span * 2 or FIRST_MS)  -- one that has just recovered
  end
else  -- what calls report that began before it opened says nothing new
  local mine = state.probe and state.probe.process == report.process
  if report.probe == 'well' then
    state.until_ms, state.probe, state.ended = nil, nil, now
    answer.event = 'closed'
  elseif report.probe == 'ill' and mine then
    opened(state.span * 2)
    answer.event = 'still'
  elseif report.probe == 'none' and mine then
    state.probe = nil
  end
  if state.probe and state.probe.until_ms < now then state.probe = nil end
  if report.asks and state.until_ms and state.until_ms <= now and not state.probe then
    state.probe = { process = report.process, until_ms = now + report.call_ms }
    answer.yours, answer.event = true, 'probing'
  end
end
answer.open = state.until_ms ~= nil
answer.wait_ms = state.until_ms and math.max(0, state.until_ms - now) or 0
answer.probing = state.probe ~= nil
redis.call('SET', KEYS[1], cjson.encode(state), 'PX', KEEP_MS)
return cjson.encode(answer)
