// Redis runs these for revocations, each as one step that nothing comes between. They need Redis 5.

/**
 * Of both scripts. KEYS: a hash of what is revoked, with its times, by kind and name; two sorted sets of the same kinds and
 * names, by revision and by end. The hash names its epoch and its newest revision too, under fields that no kind and name can
 * be. Where one of the three was lost or evicted, all count as lost: instances then write back what they know.
 */
const isWhole = `
local entries, revisions, ends = KEYS[1], KEYS[2], KEYS[3]
local epoch, revision = unpack(redis.call('hmget', entries, 'epoch', 'revision'))
local size = redis.call('zcard', revisions)
local whole = epoch and revision and redis.call('hlen', entries) == size + 2 and redis.call('zcard', ends) == size
`;

/**
 * ARGV: a revision; how many entries at most. The answer: what tells one history of the data from another (a restarted or
 * another Redis has another \`run_id\`); the newest revision; the entries after the given one with their revisions; their times.
 */
export const readScript: string = `${isWhole}
local info = redis.pcall('info', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
if not whole then return {run, '0', {}, {}} end
local found = redis.call('zrangebyscore', revisions, '(' .. ARGV[1], '+inf', 'withscores', 'limit', 0, ARGV[2])
local times = {}
for i = 1, #found, 2 do times[#times + 1] = redis.call('hget', entries, found[i]) end
return {run .. ' ' .. epoch, revision, found, times}
`;

/**
 * ARGV: the epoch of new data; the channel that is told; how many entries there may be; for how many milliseconds an entry is
 * kept beyond its end; then kind and name, \`before\` and \`ends\` of each entry. Times only grow. Entries that have ended make
 * room, some with each addition.
 */
export const addScript: string = `${isWhole}
local max, beyond = tonumber(ARGV[3]), tonumber(ARGV[4])
if not whole then
  redis.call('del', entries, revisions, ends)
  redis.call('hset', entries, 'epoch', ARGV[1], 'revision', '0')
  revision, size = 0, 0
end
local now = redis.call('time')[1] * 1000
local old = redis.call('zrangebyscore', ends, '-inf', '(' .. string.format('%.0f', now - beyond), 'limit', 0, 500)
if #old > 0 then
  redis.call('hdel', entries, unpack(old))
  redis.call('zrem', revisions, unpack(old))
  redis.call('zrem', ends, unpack(old))
  size = size - #old
end
local result, changed = 'stored', false
for i = 5, #ARGV, 3 do
  local entry, before, last = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local known = redis.call('hget', entries, entry)
  local isNews = not known
  if known then
    local knownBefore, knownLast = string.match(known, '^(%d+) (%d+)$')
    knownBefore, knownLast = tonumber(knownBefore), tonumber(knownLast)
    isNews = before > knownBefore or last > knownLast
    before, last = math.max(before, knownBefore), math.max(last, knownLast)
  elseif size >= max then
    isNews, result = false, 'full'
  else
    size = size + 1
  end
  if isNews then
    revision = redis.call('hincrby', entries, 'revision', 1)
    last = string.format('%.0f', last)
    redis.call('hset', entries, entry, string.format('%.0f', before) .. ' ' .. last)
    redis.call('zadd', revisions, revision, entry)
    redis.call('zadd', ends, last, entry)
    changed = true
  end
end
if changed then redis.call('publish', ARGV[2], '') end
return result
`;
