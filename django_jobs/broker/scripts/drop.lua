-- Forget everything about one queue but its name, whatever the keys hold; the rows still say what waits.
--   KEYS[1]  our prefix
--   ARGV[1]  queue
--   returns  nothing
local P, queue = KEYS[1], ARGV[1]
local ranks = redis.pcall('ZRANGE', P .. ':ranks:' .. queue, 0, -1)
for _, rank in ipairs(ranks) do  -- none when it is an error: what is left over waits twice, and runs once
  redis.call('UNLINK', P .. ':lane:' .. queue .. ':' .. rank)
end
redis.call('UNLINK', P .. ':ranks:' .. queue, P .. ':known:' .. queue, P .. ':wake:' .. queue)
