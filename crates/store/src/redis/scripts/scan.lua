-- Reads a page of the records of one kind. ARGV: kind, key to begin behind (with its `(`, or an end), backwards
-- (0 or 1), limit, where a page of values ends.

local state = load_state()
if not state then return { 'epoch', 0 } end
local kind, from, backwards = ARGV[1], ARGV[2], ARGV[3] == '1'
local limit, bytes_max = tonumber(ARGV[4]), tonumber(ARGV[5])
local keys, rows, bytes, chunk = {}, {}, 0, 4

local function some(count)
  if backwards then return redis.call('ZRANGE', order_key(kind), from, '-', 'BYLEX', 'REV', 'LIMIT', 0, count) end
  return redis.call('ZRANGE', order_key(kind), from, '+', 'BYLEX', 'LIMIT', 0, count)
end

while true do
  local found = some(math.min(limit - #keys + 1, chunk))
  -- Rows are read before their bytes are known.
  chunk = math.min(chunk * 2, 256)
  if #found == 0 then return { 'page', state.epoch, state.head, 0, keys, rows } end
  local values = redis.call('HMGET', records_key(kind), unpack(found))
  for index, key in ipairs(found) do
    local row = values[index]
    local readable, record = true, nil
    if row then readable, record = pcall(read_record, kind, key, row) end
    -- Whoever asked sees which one it is.
    if not readable then record = { deleted = true, value_bytes = #row } end
    if record and (record.deleted or is_there(record, state)) then
      if #keys == limit or bytes >= bytes_max then
        return { 'page', state.epoch, state.head, 1, keys, rows }
      end
      bytes = bytes + record.value_bytes
      keys[#keys + 1] = key
      rows[#rows + 1] = row
    end
  end
  from = '(' .. found[#found]
end
