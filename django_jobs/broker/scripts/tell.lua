-- Wake whoever waits for the end of a job: leave a token where somebody has said that he waits.
--   KEYS[1]  our prefix
--   ARGV     ids of jobs that have ended
--   returns  how many of them somebody waits for
local P, told = KEYS[1], 0
for _, id in ipairs(ARGV) do
  if redis.call('EXISTS', P .. ':awaited:' .. id) == 1 then
    local ended = P .. ':ended:' .. id
    redis.pcall('RPUSH', ended, '1')  -- what holds another type is not ours; whoever waits looks at the row all the same
    redis.call('EXPIRE', ended, 10)
    told = told + 1
  end
end
return told
