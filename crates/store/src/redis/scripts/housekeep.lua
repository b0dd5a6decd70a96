-- One bounded step of housekeeping. ARGV: epoch; log age in ms, log entries; tombstone age; answer age, answers;
-- the most records and bytes of values that one entry takes; the most rows of one sort that go.

local state = load_state()
if not state then return { 'epoch', 0 } end
if tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end
local now = state.now
local log_age, log_max = tonumber(ARGV[2]), tonumber(ARGV[3])
local tombstone_age = tonumber(ARGV[4])
local answer_age, answers_max = tonumber(ARGV[5]), tonumber(ARGV[6])
local room, bytes_room, rows_max = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local expired, trimmed, collected, forgotten, more = 0, 0, 0, 0, false

-- How often what is left to others is passed over in a row: they may write what this user may not.
local PASSES_MAX = 4

-- The life of a group that a member is of, the kind and the key; no kind: a commit has not written it.
local function parts_of_member(member, prefix_length)
  local split = string.find(member, '\0', prefix_length + 9, true)
  if not split then return 0, nil, nil end
  local instance = struct.unpack('>I8', member, prefix_length + 1)
  return instance, string.sub(member, prefix_length + 9, split - 1), string.sub(member, split + 1)
end

-- Plans the end of the records bound to the lives of a group up to `through`, as far as there is room. Two answers: whether
-- these are all that this user may write; whether others are left.
local function bound(id, through, into)
  local prefix = members_prefix(id)
  local from, to = '[' .. prefix, '(' .. prefix .. struct.pack('>I8', through + 1)
  local left, dropped = false, false
  for _ = 1, PASSES_MAX do
    local some = room + 1
    local found = redis.call('ZRANGEBYLEX', MEMBERS, from, to, 'LIMIT', 0, some)
    for _, member in ipairs(found) do
      local instance, kind, key = parts_of_member(member, #prefix)
      local row = kind and redis.call('HGET', records_key(kind), key)
      local record = row and read_record(kind, key, row)
      if not record or record.group ~= id or record.instance ~= instance then
        -- The record alone says what it is bound to: anybody can write a member.
        redis.call('ZREM', MEMBERS, member)
        dropped = true
      elseif not may_write(kind) then
        left = true
      else
        if room == 0 or bytes_room < record.value_bytes then return false, left end
        room = room - 1
        bytes_room = bytes_room - record.value_bytes
        into[#into + 1] = { kind = kind, key = key, record = record, member = member }
      end
    end
    if #found < some then return true, left end
    from = '(' .. found[#found]
  end
  return left and not dropped, left
end

-- Has each group of a queue swept until one is not done with, or 64 have been looked at. Those that are left to others keep
-- their places, and do not stand before the rest.
local function sweep_queue(sweep, page)
  for pass = 0, PASSES_MAX - 1 do
    local ids, left = page(pass * 64), 0
    for _, id in ipairs(ids) do
      local whole, is_left = sweep(id)
      if not whole then
        more = true
        return false
      end
      if is_left then left = left + 1 end
    end
    if #ids < 64 then return true end
    if left < 64 then
      more = true
      return true
    end
  end
  return true
end

local function sweep_groups(plans, swept)
  local function sweep(id, is_due)
    local group = group_of(id)
    if not group then
      swept[#swept + 1] = { id = id, is_due = is_due }
      return true, false
    end
    local live = is_live(group, now)
    local before = #plans
    local whole, left = bound(id, live and group.instance - 1 or group.instance, plans)
    if #plans == before and whole and not left then
      swept[#swept + 1] = { id = id, is_due = is_due, deadline = group.deadline, is_live = live }
    end
    return whole, left and #plans == before
  end
  local function sweep_due(id)
    -- One that is stale as well has been looked at.
    if redis.call('ZSCORE', STALE, id) then return true, true end
    return sweep(id, true)
  end
  local whole = sweep_queue(function(id) return sweep(id, false) end, function(from)
    return redis.call('ZRANGE', STALE, from, from + 63)
  end)
  if not whole then return end
  sweep_queue(sweep_due, function(from)
    return redis.call('ZRANGE', DUE, '-inf', now, 'BYSCORE', 'LIMIT', from, 64)
  end)
end

local function expire()
  if spared_until(state) then return end
  local plans, swept = {}, {}
  sweep_groups(plans, swept)
  if #plans > 0 then
    check_type(TOMBSTONES, 'zset')
    local entry = new_entry(state, '')
    for _, plan in ipairs(plans) do
      local record = plan.record
      plan.after = record_row(DELETED, record.version + 1, state.head + 1, record.created, now, 0, '', '', '')
      add_change(entry, true, plan.kind, plan.key, record.row, plan.after)
    end
    append(state, entry, state.head + 1)
    for _, plan in ipairs(plans) do
      redis.call('HSET', records_key(plan.kind), plan.key, plan.after)
      redis.call('ZREM', MEMBERS, plan.member)
      redis.call('ZADD', TOMBSTONES, now, plan.kind .. '\0' .. plan.key)
    end
    expired = #plans
  end
  for _, of in ipairs(swept) do
    if not of.is_due then
      redis.call('ZREM', STALE, of.id)
    elseif of.is_live then
      redis.call('ZADD', DUE, of.deadline, of.id)
    else
      redis.call('ZREM', DUE, of.id)
      if of.deadline then redis.call('ZADD', ENDED, of.deadline, of.id) end
    end
  end
end

local function trim_log()
  local surplus = math.max(0, redis.call('XLEN', LOG) - log_max)
  local bytes, from, last = 0, '-', nil
  while trimmed < rows_max and bytes < bytes_room + 1 do
    local found = redis.call('XRANGE', LOG, from, '+', 'COUNT', trimmed == 0 and 1 or 16)
    if #found == 0 then break end
    for _, entry in ipairs(found) do
      local _, _, at = parts(LOG, entry[1], '>I8I8I8', entry[2][2])
      local goes = trimmed < surplus or now >= at + log_age
      if trimmed == rows_max or not goes then
        more = more or goes
        from = nil
        break
      end
      trimmed = trimmed + 1
      last = entry[1]
      for _, part in ipairs(entry[2]) do bytes = bytes + #part end
    end
    if not from then break end
    from = '(' .. last
  end
  if last then
    local id = tonumber(string.match(last, '^%d+'))
    redis.call('XTRIM', LOG, 'MINID', '=', digits(id + 1) .. '-0')
    if bytes > bytes_room then more = true end
  end
end

-- Deletes what is left of a record that was deleted long ago; false: this user may not.
local function collect(id)
  local split = string.find(id, '\0', 1, true)
  local kind, key = string.sub(id, 1, (split or 1) - 1), string.sub(id, (split or 0) + 1)
  local row = split and redis.call('HGET', records_key(kind), key)
  local record = row and read_record(kind, key, row)
  -- The record alone says that it was deleted: anybody can write that it was.
  if split and (not record or record.deleted) then
    if not may_write(kind) then return false end
    if record and record.version > tonumber(redis.call('HGET', FLOORS, kind) or 0) then
      redis.call('HSET', FLOORS, kind, record.version)
    end
    redis.call('HDEL', records_key(kind), key)
    redis.call('ZREM', order_key(kind), key)
  end
  redis.call('ZREM', TOMBSTONES, id)
  return true
end

local function collect_tombstones()
  local left = 0
  for _ = 1, PASSES_MAX do
    local old = redis.call('ZRANGE', TOMBSTONES, '-inf', now - tombstone_age, 'BYSCORE', 'LIMIT', left, rows_max)
    for _, id in ipairs(old) do
      if collect(id) then collected = collected + 1 else left = left + 1 end
    end
    if #old < rows_max then return end
    if collected > 0 then
      more = true
      return
    end
  end
end

local function forget_answers()
  local surplus = math.min(math.max(0, redis.call('ZCARD', ANSWER_TIMES) - answers_max), rows_max)
  local function forget(keys)
    for _, key in ipairs(keys) do
      redis.call('HDEL', ANSWERS, key)
      redis.call('ZREM', ANSWER_TIMES, key)
    end
    forgotten = forgotten + #keys
    if #keys == rows_max then more = true end
  end
  if surplus > 0 then forget(redis.call('ZRANGE', ANSWER_TIMES, 0, surplus - 1)) end
  forget(redis.call('ZRANGE', ANSWER_TIMES, '-inf', now - answer_age, 'BYSCORE', 'LIMIT', 0, rows_max))
end

-- Drops groups that ended long ago, once nothing is bound to them or waits for them.
local function collect_groups()
  local old = redis.call('ZRANGE', ENDED, '-inf', now - tombstone_age, 'BYSCORE', 'LIMIT', 0, rows_max)
  local floor = tonumber(redis.call('HGET', META, 'instance_floor') or 0)
  local greatest, over = floor, {}
  for _, id in ipairs(old) do
    local group = group_of(id)
    local is_over = not group or not is_live(group, now) and #standing(group, now) == 0
    if is_over and not redis.call('ZSCORE', STALE, id) then
      over[#over + 1] = id
      if group then greatest = math.max(greatest, group.instance) end
    end
  end
  -- Before any of them is forgotten: a lower instance would revive what an old life held.
  if greatest > floor then redis.call('HSET', META, 'instance_floor', digits(greatest)) end
  for _, id in ipairs(over) do
    redis.call('HDEL', GROUPS, id)
    redis.call('HDEL', SECRETS, id)
    redis.call('ZREM', ENDED, id)
  end
  if #old == rows_max then more = true end
end

expire()
trim_log()
collect_tombstones()
forget_answers()
collect_groups()
return { 'kept', expired, trimmed, collected, forgotten, more and 1 or 0 }
