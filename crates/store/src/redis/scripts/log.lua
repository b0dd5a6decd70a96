-- Reads the log behind a revision. ARGV: revision, limit, where a page of entries ends.

local state = load_state()
if not state then return { 'epoch', 0 } end
local after, limit, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local head = state.head
local origin = number('origin', redis.call('HGET', META, 'origin'))
local compacted = { 'log', state.epoch, head, 1, {} }
local nothing = { 'log', state.epoch, head, 0, {} }
if after > head then return compacted end
if after == head or head == origin then return nothing end

local entries, bytes, some = {}, 0, 4
local from = digits(after + 1) .. '-0'
while #entries < limit and bytes < bytes_max do
  local found = redis.call('XRANGE', LOG, from, '+', 'COUNT', math.min(some, limit - #entries))
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    if bytes >= bytes_max then break end
    entries[#entries + 1] = entry
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
  end
  from = '(' .. found[#found][1]
  some = math.min(some * 2, 256)
end
if #entries == 0 then return compacted end
local _, previous = parts(LOG, entries[1][1], '>I8I8', entries[1][2][2])
-- A log that is whole from the beginning reaches back to every revision before its first.
if previous > after and previous ~= origin then return compacted end
return { 'log', state.epoch, head, 0, entries }
