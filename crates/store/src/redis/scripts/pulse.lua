-- Renews groups and reports what moved. ARGV: epoch (0: none, renews nothing), moved since, grace in ms, how long the
-- groups live from now on in ms (0: as before), how long a quarantine is from then on at least in ms; then the groups to
-- renew, each as id, instance.

local state = load_state()
if not state then return { 'epoch', 0 } end
if ARGV[1] ~= '0' and tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end
local now = state.now

local renewed = {}
local ttl = tonumber(ARGV[4])
if #ARGV > 5 then
  local from, until_ = grace_of(state)
  state.grace_from, state.grace_until = from or 0, until_ or 0
  state.heard, state.heard_grace = now, tonumber(ARGV[3])
  -- Before anybody can trust a longer life, a quarantine is as long.
  if ttl > 0 and number('quarantine_ms', redis.call('HGET', META, 'quarantine_ms')) < tonumber(ARGV[5]) then
    redis.call('HSET', META, 'quarantine_ms', ARGV[5])
  end
  for at = 6, #ARGV, 2 do
    local id = ARGV[at]
    local group = live_group(id, tonumber(ARGV[at + 1]), now)
    if group then
      if ttl > 0 then group.ttl = ttl end
      group.deadline = math.max(group.deadline, now + group.ttl)
      group.renewed = now
      put_group(state, id, group)
    end
    renewed[#renewed + 1] = group and group.deadline or 0
  end
  redis.call('HSET', META, 'heard', now, 'heard_grace', ARGV[3], 'grace_from', state.grace_from,
    'grace_until', state.grace_until)
end

-- Whoever was told a time must find it kept: what moves from now on moves later.
redis.call('HSET', META, 'clock', digits(now), 'offset', digits(state.offset))

-- Reports of all since then, as far as there are reports; else all groups.
local since = tonumber(ARGV[2])
local reports, all = {}, false
if since > now - BUCKET_KEPT_MS + 5000 then
  for bucket = math.floor(since / BUCKET_MS), math.floor(now / BUCKET_MS) do
    reports[#reports + 1] = redis.call('GET', bucket_key(bucket)) or nil
  end
else
  all = redis.call('HGETALL', GROUPS)
end
local from, until_ = grace_of(state)
return { 'beat', now, state.epoch, state.head, state.quarantine, from or 0, until_ or 0, renewed, reports, all or {} }
