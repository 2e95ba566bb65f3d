-- Count a queue three ways that must agree: what waits plus what is taken is what is known.
--   KEYS[1]  our prefix
--   ARGV[1]  queue
--   returns  {waiting, taken, known}
local P, queue = KEYS[1], ARGV[1]
local waiting, taken = 0, 0
for _, rank in ipairs(redis.call('ZRANGE', P .. ':ranks:' .. queue, 0, -1)) do
  waiting = waiting + redis.call('LLEN', P .. ':lane:' .. queue .. ':' .. rank)
end
for _, taker in ipairs(redis.call('SMEMBERS', P .. ':takers')) do
  for _, entry in ipairs(redis.call('LRANGE', P .. ':taken:' .. taker, 0, -1)) do
    if string.match(entry, '^(.-)\n') == queue then taken = taken + 1 end
  end
end
return {waiting, taken, redis.call('SCARD', P .. ':known:' .. queue)}
