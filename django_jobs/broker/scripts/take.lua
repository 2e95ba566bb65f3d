-- Forget what this taker took before, and take up to n ids: queues in the order given, each by rank.
-- Say by the way whether anybody waits for the end of a job, so that nobody has to ask.
--   KEYS[1]  our prefix
--   ARGV     taker, the epoch that the taker knows ('' = any), n, queue 1 ... queue m
--   returns  the ids taken, in order, one on each line, and '!' after them when somebody waits; false when the epoch is
--            another one: nothing was done then
local P = KEYS[1]
local taker, epoch, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
if epoch ~= '' and redis.call('GET', P .. ':epoch') ~= epoch then return false end

local taken = P .. ':taken:' .. taker
local before = redis.call('LRANGE', taken, 0, -1)
for _, entry in ipairs(before) do
  local queue, id = string.match(entry, '^(.-)\n.-\n(.*)$')
  if id then redis.call('SREM', P .. ':known:' .. queue, id) end  -- none: it is not ours
end
if #before > 0 then
  redis.call('DEL', taken)
  redis.call('SREM', P .. ':takers', taker)
end

local ids = {}
for q = 4, #ARGV do
  local queue = ARGV[q]
  if #ids < wanted and redis.call('SISMEMBER', P .. ':paused', queue) == 0 then
    local ranks = P .. ':ranks:' .. queue
    for _, rank in ipairs(redis.call('ZRANGE', ranks, 0, -1)) do
      local lane = P .. ':lane:' .. queue .. ':' .. rank
      while #ids < wanted do
        local id = redis.call('LPOP', lane)
        if not id then break end
        ids[#ids + 1] = id
        redis.call('RPUSH', taken, queue .. '\n' .. rank .. '\n' .. id)
      end
      if redis.call('EXISTS', lane) == 0 then redis.call('ZREM', ranks, rank) end
      if #ids >= wanted then break end
    end
    if redis.call('EXISTS', ranks) == 1 then
      local wake = P .. ':wake:' .. queue
      if redis.call('EXISTS', wake) == 0 then redis.call('RPUSH', wake, '1') end
    else
      redis.call('DEL', P .. ':wake:' .. queue)
    end
  end
end
if #ids > 0 then redis.call('SADD', P .. ':takers', taker) end
if redis.call('EXISTS', P .. ':awaited') == 1 then ids[#ids + 1] = '!' end
return table.concat(ids, '\n')
