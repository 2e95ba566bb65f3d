-- Put ids at the end of their lanes, or at the head, unless they are known to be waiting or taken already.
--   KEYS[1]  our prefix, in braces: every key below begins with it and lies in its slot
--   ARGV     'RPUSH' (end) or 'LPUSH' (head: give the ids last first), then one group after the other:
--            queue, rank, n, id 1 ... id n
--   returns  how many ids were new
local P = KEYS[1]
local push, pushed, i = ARGV[1], 0, 2
while i <= #ARGV do
  local queue, rank, n = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local known, lane = P .. ':known:' .. queue, P .. ':lane:' .. queue .. ':' .. rank
  local new = 0
  for j = i + 3, i + 2 + n do
    if redis.call('SADD', known, ARGV[j]) == 1 then
      redis.call(push, lane, ARGV[j])
      new = new + 1
    end
  end
  if new > 0 then
    if redis.call('SADD', P .. ':queues', queue) == 1 and redis.call('EXISTS', P .. ':wake') == 0 then
      redis.call('RPUSH', P .. ':wake', '1')  -- nobody can wait for a queue that nobody knew
    end
    redis.call('ZADD', P .. ':ranks:' .. queue, rank, rank)
    -- One token is enough: while it lies there nobody is blocked on it, and whoever takes it and leaves
    -- ids behind puts a new one.
    local wake = P .. ':wake:' .. queue
    if redis.call('EXISTS', wake) == 0 then redis.call('RPUSH', wake, '1') end
  end
  pushed = pushed + new
  i = i + 3 + n
end
return pushed
