-- Put what a taker holds back to the heads of its lanes, first taken first.
--   KEYS[1]  our prefix
--   ARGV[1]  taker
--   returns  how many ids went back
local P = KEYS[1]
local taken = P .. ':taken:' .. ARGV[1]
local entries = redis.call('LRANGE', taken, 0, -1)
for i = #entries, 1, -1 do
  local queue, rank, id = string.match(entries[i], '^(.-)\n(-?%d+)\n(.*)$')
  if id then  -- else it is not ours
    redis.call('LPUSH', P .. ':lane:' .. queue .. ':' .. rank, id)
    redis.call('ZADD', P .. ':ranks:' .. queue, rank, rank)
    local wake = P .. ':wake:' .. queue
    if redis.call('EXISTS', wake) == 0 then redis.call('RPUSH', wake, '1') end
  end
end
redis.call('DEL', taken)
redis.call('SREM', P .. ':takers', ARGV[1])
return #entries
