-- What every script begins with: the state of the store, its time, and the rows.
--
-- KEYS[1] is the hash `meta`; all other keys have its prefix, and with it its hash tag.
-- Numbers stay below 2^53, which a double counts exactly.

-- An error of a command says what is wrong, and not with which key. With NAMES_KEYS it says both: a script that has
-- failed is run once more like that, because it costs too much to be there always.
local server = redis
local redis = NAMES_KEYS and setmetatable({
  call = function(...)
    local answer = server.pcall(...)
    if type(answer) == 'table' and answer.err then
      answer.err = answer.err .. ' (' .. (...) .. ' ' .. tostring(select(2, ...)) .. ')'
      error(answer)
    end
    return answer
  end,
}, { __index = server }) or server

local function refuse(key, what) error({ err = 'GARBAGE ' .. key .. ': ' .. what }) end

local function read_or_refuse(key, field, ok, ...)
  if not ok then refuse(key, '`' .. field .. '` holds what nobody wrote') end
  return ...
end

-- The parts of a row that stands in a field of a key.
local function parts(key, field, format, row, at)
  if not NAMES_KEYS then return struct.unpack(format, row, at or 1) end
  return read_or_refuse(key, field, pcall(struct.unpack, format, row, at or 1))
end

local PREFIX = string.sub(KEYS[1], 1, -5)
local META = KEYS[1]
local LOG = PREFIX .. 'log'
local GROUPS = PREFIX .. 'groups'
local SECRETS = PREFIX .. 'secrets'
local ENDED = PREFIX .. 'ended'
local DUE = PREFIX .. 'due'
local STALE = PREFIX .. 'stale'
local MEMBERS = PREFIX .. 'members'
local LEASES = PREFIX .. 'leases'
local ANSWERS = PREFIX .. 'answers'
local ANSWER_TIMES = PREFIX .. 'answer_times'
local TOMBSTONES = PREFIX .. 'tombstones'
local FLOORS = PREFIX .. 'floors'

local DELETED, BOUND = 1, 2

local function records_key(kind) return PREFIX .. 'records:' .. kind end
local function order_key(kind) return PREFIX .. 'order:' .. kind end

-- Whether the user may write records of a kind: not all may who may run scripts. A command that is denied stops a script
-- half way, so that this is asked before anything is written.
local writable = {}
local function may_write(kind)
  if writable[kind] == nil then
    writable[kind] = server.acl_check_cmd('HSET', records_key(kind), 'f', '')
      and server.acl_check_cmd('ZADD', order_key(kind), '0', 'm')
  end
  return writable[kind]
end

local function digits(number) return string.format('%d', number) end

-- A number in META; 0 where there is none.
local function number(field, text)
  if not text then return 0 end
  return tonumber(text) or refuse(META, '`' .. field .. '` is no number')
end

-- What every script needs of the state of the store, or nil when there is none.
local function load_state()
  local row = redis.call('HMGET', META, 'epoch', 'head', 'offset', 'clock')
  if not row[1] or not row[2] then return nil end
  local time = redis.call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local state = {
    epoch = number('epoch', row[1]), head = number('head', row[2]), offset = number('offset', row[3]), now = ms,
  }
  local clock = number('clock', row[4])
  state.now = ms + state.offset
  -- The server's clock went back, or this is another server: time goes on from where it was.
  if state.now < clock then
    state.now = clock
    state.offset = clock - ms
  end
  return state
end

-- What some scripts need of it: the quarantine, the last renewal and the grace that runs.
local function load_mercy(state)
  if state.quarantine then return state end
  local row = redis.call('HMGET', META, 'quarantine', 'heard', 'heard_grace', 'grace_from', 'grace_until', 'token_floor')
  state.quarantine, state.heard = number('quarantine', row[1]), number('heard', row[2])
  state.heard_grace = number('heard_grace', row[3])
  state.grace_from, state.grace_until = number('grace_from', row[4]), number('grace_until', row[5])
  state.token_floor = number('token_floor', row[6])
  return state
end

-- When the grace that runs, or will once somebody is heard again, began and ends; nil if there is none.
local function grace_of(state)
  load_mercy(state)
  if state.now < state.grace_until then return state.grace_from, state.grace_until end
  if state.heard > 0 and state.heard_grace > 0 and state.now - state.heard > state.heard_grace / 2 then
    return state.heard, state.now + state.heard_grace
  end
  return nil
end

-- The instant that decides whether a record's group is over.
local function judged_at(state)
  local from = grace_of(state)
  return from or state.now
end

-- Until when nobody is judged gone; nil if somebody may be.
local function spared_until(state)
  local _, until_ = grace_of(state)
  if state.now < state.quarantine and state.quarantine > (until_ or 0) then return state.quarantine end
  return until_
end

-- A group's row: its life; then, of each life that was replaced while it lived, the deadline it had and its number.
local function read_group(id, row)
  local instance, ttl, deadline, renewed, closed, at = parts(GROUPS, id, '>I8I8I8I8B', row)
  local replaced = {}
  while at <= #row do
    local life = {}
    life.until_, life.instance, at = parts(GROUPS, id, '>I8I8', row, at)
    replaced[#replaced + 1] = life
  end
  return {
    instance = instance, ttl = ttl, deadline = deadline, renewed = renewed, closed = closed == 1,
    replaced = replaced,
  }
end

local function group_row(group)
  local row = struct.pack('>I8I8I8I8B', group.instance, group.ttl, group.deadline, group.renewed,
    group.closed and 1 or 0)
  for _, life in ipairs(group.replaced) do row = row .. struct.pack('>I8I8', life.until_, life.instance) end
  return row
end

-- The replaced lives of a group whose leases pass to nobody yet, each for itself alone.
local function standing(group, at)
  local lives = {}
  for _, life in ipairs(group.replaced) do
    if at < life.until_ then lives[#lives + 1] = life end
  end
  return lives
end

-- Renewals are reported in buckets of time: strings that whole reports are appended to and read from.
local BUCKET_MS, BUCKET_KEPT_MS = 250, 15000

local function bucket_key(number) return PREFIX .. 'moved:' .. digits(number) end

-- Reports that a group moved, and writes it; the report comes first, since its key may hold anything.
local function put_group(state, id, group)
  local key = bucket_key(math.floor(state.now / BUCKET_MS))
  local report = struct.pack('>I2c0I6I6I6I6B', #id, id, group.instance, group.ttl, group.deadline, group.renewed,
    group.closed and 1 or 0)
  if redis.call('APPEND', key, report) == #report then redis.call('PEXPIRE', key, BUCKET_KEPT_MS) end
  redis.call('HSET', GROUPS, id, group_row(group))
end

local groups_read = {}

local function group_of(id)
  local group = groups_read[id]
  if group == nil then
    local row = redis.call('HGET', GROUPS, id)
    group = row and read_group(id, row) or false
    groups_read[id] = group
  end
  return group
end

local function is_live(group, at) return not group.closed and at < group.deadline end

-- The group if this very life of it is live.
local function live_group(id, instance, at)
  local group = group_of(id)
  if group and group.instance == instance and is_live(group, at) then return group end
  return nil
end

-- A life that is not known counts as live: its row may be on its way.
local function is_over(id, instance, at)
  local group = group_of(id)
  if not group then return false end
  local through = is_live(group, at) and group.instance - 1 or group.instance
  return through >= instance
end

-- A record's row: flags, version, revision, created, updated; of a bound one the instance and the id of its
-- group; the writer; the value to the end.
local function read_record(kind, key, row)
  local hash = records_key(kind)
  local flags, version, revision, created, updated, at = parts(hash, key, '>BI8I8I8I8', row)
  local record = { row = row, deleted = flags == DELETED, version = version, created = created, updated = updated }
  if flags == BOUND then
    record.instance, record.group, at = parts(hash, key, '>I8I2c0', row, at)
  end
  local writer_bytes = parts(hash, key, '>I2', row, at)
  record.value_bytes = #row - (at + 1 + writer_bytes)
  return record
end

local function record_row(flags, version, revision, created, updated, instance, group, writer, value)
  local head = struct.pack('>BI8I8I8I8', flags, version, revision, created, updated)
  if flags == BOUND then head = head .. struct.pack('>I8I2c0', instance, #group, group) end
  return head .. struct.pack('>I2c0', #writer, writer) .. value
end

-- True if a reader finds this record.
local function is_there(record, state)
  if record.deleted then return false end
  return not (record.group and is_over(record.group, record.instance, judged_at(state)))
end

local function members_prefix(group) return struct.pack('>I2c0', #group, group) end

local function member_of(group, instance, kind, key)
  return members_prefix(group) .. struct.pack('>I8', instance) .. kind .. '\0' .. key
end

-- Fails before anything is written when a key holds something else than it should.
local function check_type(key, expected)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= expected then
    error({ err = 'WRONGTYPE ' .. key .. ' holds a ' .. found .. ', not a ' .. expected })
  end
end

-- An entry of the log: its fields, which `append` writes. A long value is a field of its own: what Lua does not
-- put together it does not hash either.
local function new_entry(state, writer)
  return { 'h', struct.pack('>I8I8I8I2c0', state.epoch, state.head, state.now, #writer, writer) }
end

-- Adds a change: flags (1: expired) with kind and key, the row before if there was one, the row after.
local function add_change(entry, expired, kind, key, before, after)
  local at = #entry
  entry[at + 1] = 'c'
  entry[at + 2] = struct.pack('>BI2c0I2c0', expired and 1 or 0, #kind, kind, #key, key)
  if before then
    entry[at + 3] = 'b'
    entry[at + 4] = before
    at = at + 2
  end
  entry[at + 3] = 'a'
  entry[at + 4] = after
end

-- Appends an entry and moves the head to its revision, which is above it. The first write of a step, so that a log that
-- refuses it stops all.
local function append(state, entry, revision)
  local added = redis.pcall('XADD', LOG, digits(revision) .. '-0', unpack(entry))
  if type(added) == 'table' and added.err then error({ err = added.err .. ' (XADD ' .. LOG .. ')' }) end
  redis.call('HSET', META, 'head', digits(revision), 'clock', digits(state.now), 'offset', digits(state.offset))
  state.head = revision
  return revision
end
