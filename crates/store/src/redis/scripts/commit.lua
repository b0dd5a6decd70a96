-- Makes a commit: everything is judged first, in the order that the port names, and written then.
--
-- ARGV: epoch, writer, fence scope (empty: none), fence token, idempotency key (empty: none), request hash,
-- answer, limit of value bytes, counts of preconditions, writes and lease operations; then these themselves:
--   v kind key version | l group instance | o group instance
--   p kind key value group(empty: none) instance | d kind key | i|I kind key value version revision created updated writer
--   a scope group instance floor | r scope token | f scope

local at = 12

local function take()
  local argument = ARGV[at]
  at = at + 1
  return argument
end

local state = load_state()
if not state then return { 'epoch', 0 } end
local now = state.now
local writer = ARGV[2]

if ARGV[5] ~= '' then
  local row = redis.call('HGET', ANSWERS, ARGV[5])
  if row then
    local revision, hash = parts(ANSWERS, 'an answer', '>I8c8', row)
    if hash ~= ARGV[6] then return { 'reused' } end
    return { 'replayed', revision, string.sub(row, 25) }
  end
end

if tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end

local function read_lease(scope)
  local row = redis.call('HGET', LEASES, scope)
  if not row then return nil end
  local term, token, acquired, released, instance, group = parts(LEASES, scope, '>I8I8I8BI8I2c0', row)
  return {
    term = term, token = token, acquired = acquired, released = released == 1, instance = instance, group = group,
  }
end

local function lease_row(lease)
  return struct.pack('>I8I8I8BI8I2c0', lease.term, lease.token, lease.acquired, lease.released and 1 or 0,
    lease.instance, #lease.group, lease.group)
end

local function is_valid(lease)
  return not lease.released and live_group(lease.group, lease.instance, now) ~= nil
end

if ARGV[3] ~= '' then
  local lease = read_lease(ARGV[3])
  local current = lease and is_valid(lease) and lease.token or nil
  if current ~= tonumber(ARGV[4]) then return { 'fenced', current or -1 } end
end

local seen = {}

-- The record as it is stored, read once; nil if there is none.
local function stored(kind, key)
  local id = kind .. '\0' .. key
  local record = seen[id]
  if record == nil then
    local row = redis.call('HGET', records_key(kind), key)
    record = row and read_record(kind, key, row) or false
    seen[id] = record
  end
  return record or nil
end

for index = 1, tonumber(ARGV[9]) do
  local what = take()
  if what == 'v' then
    local record = stored(take(), take())
    local actual = record and is_there(record, state) and record.version or 0
    if actual ~= tonumber(take()) then return { 'conflict', index, actual } end
  else
    local id, instance = take(), tonumber(take())
    if what == 'l' then
      if not live_group(id, instance, now) then return { 'over', id, instance } end
    else
      local group = group_of(id)
      local until_ = group and is_live(group, now) and group.deadline or spared_until(state)
      if until_ then return { 'live', id, until_ } end
    end
  end
end

-- Of the entry: above the head, and above those that are imported.
local revision = state.head + 1
local value_bytes = 0
local planned = {}

-- The version of what is written where `record` is stored.
local function next_version(kind, record)
  if record then return record.version + 1 end
  return (tonumber(redis.call('HGET', FLOORS, kind) or 0)) + 1
end

for _ = 1, tonumber(ARGV[10]) do
  local what, kind, key = take(), take(), take()
  local record = stored(kind, key)
  local there = record and is_there(record, state)
  local plan = { kind = kind, key = key, record = record, updated = now, writer = writer, flags = 0 }
  local changes = true
  if what == 'p' then
    local group, instance
    plan.value, group, instance = take(), take(), tonumber(take())
    if group ~= '' then
      if not live_group(group, instance, now) then return { 'over', group, instance } end
      plan.group, plan.instance, plan.flags = group, instance, BOUND
    end
    plan.version = next_version(kind, record)
    plan.created = there and record.created or now
  -- `i` keeps what is there; `I` replaces it, and takes the version as it comes.
  elseif what == 'i' or what == 'I' then
    plan.value, plan.version, plan.revision = take(), tonumber(take()), tonumber(take())
    plan.created, plan.updated, plan.writer = tonumber(take()), tonumber(take()), take()
    changes = what == 'I' or not there
    if changes then
      if what == 'i' then plan.version = math.max(plan.version, next_version(kind, record)) end
      revision = math.max(revision, plan.revision + 1)
    end
  else
    changes = there
    if changes then
      plan.value, plan.version, plan.created, plan.flags = '', record.version + 1, record.created, DELETED
    end
  end
  if changes then
    value_bytes = value_bytes + #plan.value + (record and record.value_bytes or 0)
    planned[#planned + 1] = plan
  end
end
if value_bytes > tonumber(ARGV[8]) then return { 'bytes', value_bytes } end

-- Until when a scope is its holder's, and nobody else's: it lives, or may trust the life that was replaced. nil: it is free.
local function taken_until(lease)
  local holder = lease and not lease.released and group_of(lease.group)
  if not holder then return nil end
  if holder.instance == lease.instance and is_live(holder, now) then return holder.deadline end
  for _, life in ipairs(standing(holder, now)) do
    if life.instance == lease.instance then return life.until_ end
  end
  return nil
end

local leases, scopes, forgotten = {}, {}, {}
for _ = 1, tonumber(ARGV[11]) do
  local what, scope = take(), take()
  local lease = leases[scope] or read_lease(scope)
  local after
  if what == 'a' then
    local group, instance, floor = take(), tonumber(take()), tonumber(take())
    if not live_group(group, instance, now) then return { 'over', group, instance } end
    if not (lease and lease.group == group and lease.instance == instance and is_valid(lease)) then
      local until_ = taken_until(lease)
      if until_ then return { 'held', scope, until_, lease.group, lease.instance } end
      if now < load_mercy(state).quarantine then return { 'held', scope, state.quarantine } end
      after = {
        term = (lease and lease.term or 0) + 1,
        token = math.max((lease and lease.token or 0) + 1, floor + 1, state.token_floor + 1, now),
        acquired = now, released = false, instance = instance, group = group,
      }
    end
  elseif what == 'f' then
    if lease and lease.token < now and not taken_until(lease) then
      lease.released = true
      forgotten[#forgotten + 1] = { scope = scope, lease = lease }
    end
  else
    local token = tonumber(take())
    if lease and lease.token == token and not lease.released then
      after = {
        term = lease.term, token = token, acquired = lease.acquired, released = true,
        instance = lease.instance, group = lease.group,
      }
    end
  end
  if after then
    if not leases[scope] then scopes[#scopes + 1] = scope end
    leases[scope] = after
  end
end

for _, plan in ipairs(planned) do
  if not may_write(plan.kind) then return { 'denied', plan.kind } end
end

-- All that is judged is judged: from here on everything is written.
for _, plan in ipairs(planned) do
  if not plan.record then check_type(order_key(plan.kind), 'zset') end
  if plan.flags == DELETED or plan.record and plan.record.deleted then check_type(TOMBSTONES, 'zset') end
  if plan.group or plan.record and plan.record.group then check_type(MEMBERS, 'zset') end
end
if ARGV[5] ~= '' then check_type(ANSWER_TIMES, 'zset') end

local answer = { 'done', state.head, state.head, now }
if #planned > 0 or #scopes > 0 or #forgotten > 0 then
  local entry = new_entry(state, writer)
  for _, plan in ipairs(planned) do
    local before = plan.record and not plan.record.deleted and plan.record.row
    plan.after = record_row(plan.flags, plan.version, plan.revision or revision, plan.created, plan.updated,
      plan.instance, plan.group, plan.writer, plan.value)
    add_change(entry, false, plan.kind, plan.key, before, plan.after)
    answer[#answer + 1] = { plan.version, plan.created, before or '', plan.key, plan.kind }
  end
  for _, scope in ipairs(scopes) do
    local lease = struct.pack('>I2c0', #scope, scope) .. lease_row(leases[scope])
    entry[#entry + 1] = 'l'
    entry[#entry + 1] = lease
    answer[#answer + 1] = lease
  end
  -- One more byte says that it is forgotten; who does not read it takes it for one that was given back.
  for _, of in ipairs(forgotten) do
    local lease = struct.pack('>I2c0', #of.scope, of.scope) .. lease_row(of.lease) .. '\1'
    entry[#entry + 1] = 'l'
    entry[#entry + 1] = lease
    answer[#answer + 1] = lease
  end
  answer[2] = append(state, entry, revision)
end
for _, plan in ipairs(planned) do
  local kind, key = plan.kind, plan.key
  redis.call('HSET', records_key(kind), key, plan.after)
  if not plan.record then redis.call('ZADD', order_key(kind), 0, key) end
  if plan.group then redis.call('ZADD', MEMBERS, 0, member_of(plan.group, plan.instance, kind, key)) end
  if plan.flags == DELETED then redis.call('ZADD', TOMBSTONES, now, kind .. '\0' .. key) end
end
for _, scope in ipairs(scopes) do
  redis.call('HSET', LEASES, scope, lease_row(leases[scope]))
end
if ARGV[5] ~= '' then
  redis.call('HSET', ANSWERS, ARGV[5], struct.pack('>I8c8I8', answer[2], ARGV[6], now) .. ARGV[7])
  redis.call('ZADD', ANSWER_TIMES, now, ARGV[5])
end
-- Last, because what empties a key of a slot that is on its way to another node leaves nothing to write to.
for _, of in ipairs(forgotten) do redis.call('HDEL', LEASES, of.scope) end
for _, plan in ipairs(planned) do
  local kind, key, record = plan.kind, plan.key, plan.record
  if record and record.deleted then redis.call('ZREM', TOMBSTONES, kind .. '\0' .. key) end
  if record and record.group and not (record.group == plan.group and record.instance == plan.instance) then
    redis.call('ZREM', MEMBERS, member_of(record.group, record.instance, kind, key))
  end
end
return answer
