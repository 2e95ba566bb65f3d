-- Count a queue three ways that must agree: what waits plus what is taken is what is known.
--   KEYS[1]  our prefix
--   ARGV[1]  queue
--   returns  {waiting, taken, known}; known is -1, which never agrees, when a key of ours holds another type
local P, queue = KEYS[1], ARGV[1]
local waiting, taken, damaged = 0, 0, false

local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  damaged = true
end

for _, rank in ipairs(ask('ZRANGE', P .. ':ranks:' .. queue, 0, -1) or {}) do
  waiting = waiting + (ask('LLEN', P .. ':lane:' .. queue .. ':' .. rank) or 0)
end
for _, taker in ipairs(ask('SMEMBERS', P .. ':takers') or {}) do
  for _, entry in ipairs(ask('LRANGE', P .. ':taken:' .. taker, 0, -1) or {}) do
    if string.match(entry, '^(.-)\n') == queue then taken = taken + 1 end
  end
end
local known = ask('SCARD', P .. ':known:' .. queue)
ask('LLEN', P .. ':wake:' .. queue)
ask('LLEN', P .. ':wake')
return {waiting, taken, damaged and -1 or known}
