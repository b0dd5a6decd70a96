-- Looks for an answer. ARGV: the idempotency key.

if not load_state() then return { 'epoch', 0 } end
local row = redis.call('HGET', ANSWERS, ARGV[1])
if not row then return false end
local revision, hash = parts(ANSWERS, 'an answer', '>I8c8', row)
return { revision, hash, string.sub(row, 25) }
