-- Reads the lease of every scope.

local state = load_state()
if not state then return { 'epoch', 0 } end
return { 'leases', state.epoch, redis.call('HGETALL', LEASES) }
