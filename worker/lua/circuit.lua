-- One exchange between a worker process and the circuit of one provider: the process says how calls have ended; it hears
-- whether the provider is left alone. docs/decisions/0007-circuit.md says why these figures.
-- KEYS: state. ARGV: report as JSON, see worker/circuit.py. Returns the answer as JSON. Times are milliseconds.
local BUCKET_MS = 250
local WINDOW = 40          -- buckets that are remembered: ten seconds
local CALLS = 20           -- fewer say nothing
local SHARE = 0.5          -- of calls that fail: the provider is ill
local FIRST_MS = 5000      -- so long it is left alone at first, twice as long after each probe that fails
local LONGEST_MS = 60000
local KEEP_MS = 3600000

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local report = cjson.decode(ARGV[1])
local state = { generation = report.generation, buckets = {}, span = 0, ended = 0 }
local kept = redis.call('GET', KEYS[1])
if kept then
  local before = cjson.decode(kept)
  if before.generation == report.generation then
    state = before
  elseif before.generation > report.generation then
    return cjson.encode({ open = false, wait_ms = 0, probing = false, yours = false })  -- of a definition that is gone
  end
end
local answer = { yours = false }
local buckets = state.buckets

local function opened(span)
  state.span = math.min(LONGEST_MS, math.max(FIRST_MS, span))
  state.until_ms, state.probe, state.buckets = now + state.span, nil, {}
end

local function counted()
  local index = math.floor(now / BUCKET_MS)
  local newest = buckets[#buckets]
  if not newest or newest[1] < index then
    newest = { index, 0, 0 }
    table.insert(buckets, newest)
  end
  newest[2], newest[3] = newest[2] + report.calls, newest[3] + report.failed
  while buckets[1][1] <= index - WINDOW do table.remove(buckets, 1) end
  -- Any stretch that reaches up to now, and back for one whole bucket at least: an outage is seen within a second however many
  -- calls went well before it, and not by the word of the one process that happens to speak first.
  local calls, failed = 0, 0
  for i = #buckets, 1, -1 do
    calls, failed = calls + buckets[i][2], failed + buckets[i][3]
    local whole = buckets[i][1] < index
    if whole and calls >= CALLS and failed >= SHARE * calls then return calls, failed end
  end
end

if not state.until_ms then
  if report.calls > 0 then
    local calls, failed = counted()
    if calls then
      opened(now - state.ended < LONGEST_MS and state.span * 2 or FIRST_MS)  -- one that has just recovered
      answer.event, answer.calls, answer.failed = 'opened', calls, failed
    end
  end
else  -- what calls report that began before it opened says nothing new
  local mine = state.probe and state.probe.process == report.process
  if report.probe == 'well' then
    state.until_ms, state.probe, state.buckets, state.ended = nil, nil, {}, now
    answer.event = 'closed'
  elseif report.probe == 'ill' and mine then
    opened(state.span * 2)
    answer.event = 'still'
  elseif report.probe == 'none' and mine then
    state.probe = nil
  end
  if state.probe and state.probe.until_ms < now then state.probe = nil end
  if report.ask_ms > 0 and state.until_ms and state.until_ms <= now and not state.probe then
    state.probe = { process = report.process, until_ms = now + report.ask_ms }
    answer.yours, answer.event = true, 'probing'
  end
end
answer.open = state.until_ms ~= nil
answer.wait_ms = state.until_ms and math.max(0, state.until_ms - now) or 0
answer.probing = state.probe ~= nil
redis.call('SET', KEYS[1], cjson.encode(state), 'PX', KEEP_MS)
return cjson.encode(answer)
