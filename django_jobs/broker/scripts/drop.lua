-- Forget everything about one queue but its name, whatever the keys hold; the rows still say what waits. The token of
-- new queues goes along: it may be what is damaged, and costs at most one wait.
--   KEYS[1]  our prefix
--   ARGV     queue, the lowest rank, the highest rank
--   returns  nothing
local P, queue = KEYS[1], ARGV[1]
for rank = tonumber(ARGV[2]), tonumber(ARGV[3]) do  -- all there can be: the list of those in use may be wrong
  redis.call('UNLINK', P .. ':lane:' .. queue .. ':' .. rank)
end
redis.call('UNLINK', P .. ':ranks:' .. queue, P .. ':known:' .. queue, P .. ':wake:' .. queue, P .. ':wake')

-- What is taken is filled in again, too: a taker that forgot it later would make the new books wrong.
local takers = redis.pcall('SMEMBERS', P .. ':takers')
for _, taker in ipairs(takers.err and {} or takers) do
  local taken = P .. ':taken:' .. taker
  local entries = redis.pcall('LRANGE', taken, 0, -1)
  if entries.err then redis.call('UNLINK', taken) end
  for _, entry in ipairs(entries.err and {} or entries) do
    local taken_from = string.match(entry, '^(.-)\n')
    if taken_from == queue or not taken_from then redis.call('LREM', taken, 1, entry) end
  end
  if redis.call('EXISTS', taken) == 0 then redis.call('SREM', P .. ':takers', taker) end
end
