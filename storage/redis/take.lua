-- Counts one use of a key by the generic cell rate algorithm, as Cell.Take of core/ratelimit does.
-- KEYS[1] holds the moment at which the whole quota is there again. ARGV: the cell's interval and its room.
-- Returns how far the uses before this one have run ahead. All times are whole microseconds below 2^53, which numbers
-- of Lua hold exactly.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or 0)
local ahead = math.min(math.max(full - now, 0), room)
local next = ahead + interval
if next > room then
	next = ahead -- refused, and not counted
end
if now + next ~= full then
	redis.call('SET', KEYS[1], string.format('%.0f', now + next), 'PX', string.format('%.0f', math.ceil(next / 1000)))
end
return ahead
