-- One exchange between a worker process and the limits of one provider: the process says what it holds, what calls have
-- used and who waits; it gets times at which calls may be made. docs/decisions/0006-limits-for-the-cluster.md has the proof.
-- KEYS: state. ARGV: report as JSON, see worker/limits/exchange.py. Returns the answer as JSON. Times are milliseconds.
local SPACING_MS = 61200   -- N calls are spread over this, so that a minute never sees more than N
local TOLERANCE_MS = 200   -- so much earlier than its turn a call may come: small bursts
local WINDOW_MS = 61000    -- tokens are remembered for so long: a minute, and a second on the way to the provider
local BUCKET_MS = 500
local AHEAD_MS = 500       -- bulk gets no time further ahead than this, so that interactive jobs find room
local CREDIT_MS = 2000     -- what calls did not use may be used later; of that no more than is given in this time
local QUIET_MS = 2000      -- who has waited for a free call without asking for so long has gone
local KEEP_MS = 86400000

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local report = cjson.decode(ARGV[1])
local state = { born = now, last = 0, hold = 0, processes = {}, requests = { at = now, debt = 0 },
                tokens = { at = now, debt = 0, window = {} } }
local kept = redis.call('GET', KEYS[1])
if kept then
  state = cjson.decode(kept)
elseif report.processes > 0 then
  state.hold = now + AHEAD_MS  -- Redis was emptied: turns that were given are not over
end

-- What has been given drains at the rate of the limit that was in force; what is left counts at the rate of the new one, so
-- a changed limit acts at once. After a lower one it is over when all that was given has left the window.
local function drained(resource, limit)
  if not limit then return end
  local debt = resource.debt
  if debt > 0 then debt = math.max(0, debt - math.max(0, now - resource.at) * (resource.limit or limit) / SPACING_MS) end
  resource.debt = math.min(debt, (math.max(0, state.last - now) + SPACING_MS) * limit / SPACING_MS)
  resource.at, resource.limit = now, limit
end

local function paced(resource, limit, from)
  if not limit then return from end
  return math.max(from, now + resource.debt * SPACING_MS / limit - TOLERANCE_MS)
end

local function charged(resource, limit, amount, at)
  if limit then resource.debt = math.max(resource.debt, (at - now) * limit / SPACING_MS) + amount end
end

-- Tokens by the bucket in which their call was made: index, amount, index, amount ... in order of the index.
local window = state.tokens.window

local function added(at, amount)
  local index, i = math.floor(at / BUCKET_MS), #window - 1
  while i > 0 and window[i] > index do i = i - 2 end
  if i > 0 and window[i] == index then
    window[i + 1] = math.max(0, window[i + 1] + amount)
  elseif amount > 0 then
    table.insert(window, i + 2, amount)
    table.insert(window, i + 2, index)
  end
end

-- The first time from `from` on at which `amount` fits: together with all that lies less than a window before it or after.
local function fitting(limit, amount, from)
  if not limit then return from end
  local sum = amount
  for i = 1, #window, 2 do sum = sum + window[i + 1] end
  local oldest = math.floor((from - WINDOW_MS) / BUCKET_MS)
  local at = from
  for i = 1, #window, 2 do
    if sum <= limit and window[i] >= oldest then break end
    sum = sum - window[i + 1]
    if window[i] >= oldest then at = (window[i] + 1) * BUCKET_MS + WINDOW_MS end
  end
  return at
end

local limits = report.limits
drained(state.requests, limits.requests)
drained(state.tokens, limits.tokens)
for _, settled in ipairs(report.settled) do
  added(settled[1], settled[2])
  if limits.tokens then
    state.tokens.debt = math.max(-CREDIT_MS * limits.tokens / SPACING_MS, state.tokens.debt + settled[2])
  end
end
while #window > 0 and window[1] < math.floor((now - WINDOW_MS) / BUCKET_MS) do
  table.remove(window, 1)
  table.remove(window, 1)
end
if report.hold_ms > 0 then state.hold = math.max(state.hold, now + report.hold_ms) end

-- Calls in flight, by each process' own word; the word of one that died runs out.
local me = state.processes[report.process] or {}
local living, others, ahead = 1, 0, 0
local line = (#report.interactive > 0 and -1e13 or 0) + now
if me.line and (me.line < 0) == (line < 0) then line = me.line end
for name, process in pairs(state.processes) do
  if process.until_ms < now then
    state.processes[name] = nil
  elseif name ~= report.process then
    living = living + 1
    others = others + process.held
    if process.line and process.line < line and now - process.seen < QUIET_MS then ahead = ahead + 1 end
  end
end
local free = math.huge
if limits.calls then
  free = limits.calls - others - report.held - ahead  -- one is left for each process that has waited longer
  if now - state.born < report.lease_ms / 2 then      -- the others have not yet said what they hold
    free = math.min(free, math.max(1, math.floor(limits.calls / math.max(1, report.processes))) - report.held)
  end
end

local function earliest(tokens)
  local from = math.max(now, state.hold)
  from = paced(state.tokens, limits.tokens, paced(state.requests, limits.requests, from))
  return math.ceil(fitting(limits.tokens, tokens, from))
end

local held = report.held
local function taken(tokens, at)
  charged(state.requests, limits.requests, 1, at)
  charged(state.tokens, limits.tokens, tokens, at)
  if limits.tokens then added(at, tokens) end
  state.last = math.max(state.last, at)
  held, free = held + 1, free - 1
end

local function capped(tokens)  -- a call larger than the limit of a minute gets the whole minute
  return limits.tokens and math.min(tokens, limits.tokens) or tokens
end

local answer = { now_ms = now, processes = living, interactive = {}, bulk = {}, again_ms = -1,
                 hold_ms = math.max(0, state.hold - now) }
local scarce = false
for i, ask in ipairs(report.interactive) do
  local tokens = capped(ask[1])
  local at = earliest(tokens)
  if at - now > ask[2] then
    answer.interactive[i] = { false, at - now }  -- longer than it may wait
  elseif free < 1 then
    scarce = true
    answer.interactive[i] = cjson.null
  else
    taken(tokens, at)
    answer.interactive[i] = { true, at - now }
  end
end
for i, ask in ipairs(report.bulk) do
  local tokens = capped(ask)
  local at = earliest(tokens)
  if at - now > AHEAD_MS then
    answer.again_ms = math.max(20, at - now - AHEAD_MS / 2)
    break
  elseif free < 1 then
    scarce = true
    break
  end
  taken(tokens, at)
  answer.bulk[i] = at - now
end
answer.scarce = scarce
if scarce then
  local again = math.min(1000, math.max(100, 50 * living))
  answer.again_ms = answer.again_ms < 0 and again or math.min(again, answer.again_ms)
end

if held > report.held then line = line < 0 and now - 1e13 or now end
state.processes[report.process] = { held = held, seen = now, until_ms = now + report.lease_ms, line = scarce and line or nil }
redis.call('SET', KEYS[1], cjson.encode(state), 'PX', KEEP_MS + math.max(0, state.hold - now))
return cjson.encode(answer)
