// Redis runs this for each change of API keys, as one step that nothing comes between.

/**
 * KEYS: the records, by digest, with their version; the digests, by id. ARGV: the new version; the channel that is told;
 * then of each record its digest, its id, the JSON that it has now (empty: there is none), and the new JSON.
 */
export const changeScript = `
local records, ids, version, channel = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
for i = 3, #ARGV, 4 do
  local digest, id, old = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local found = redis.call('hget', records, digest)
  if old == '' then
    if found or redis.call('hexists', ids, id) == 1 then return 'taken' end
  elseif found ~= old then
    return 'changed meanwhile'
  end
end
for i = 3, #ARGV, 4 do
  redis.call('hset', records, ARGV[i], ARGV[i + 3])
  redis.call('hset', ids, ARGV[i + 1], ARGV[i])
end
redis.call('hset', records, 'version', version)
redis.call('publish', channel, version)
return 'changed'
`;

/**
 * KEYS: the digests, by id; the times of last use, by id. ARGV: ids, each with a time in milliseconds. Instances write in
 * any order: the newest time stays.
 */
export const useScript = `
local ids, uses = KEYS[1], KEYS[2]
for i = 1, #ARGV, 2 do
  local known = tonumber(redis.call('hget', uses, ARGV[i]) or 0)
  if redis.call('hexists', ids, ARGV[i]) == 1 and known < tonumber(ARGV[i + 1]) then
    redis.call('hset', uses, ARGV[i], ARGV[i + 1])
  end
end
return 'recorded'
`;
