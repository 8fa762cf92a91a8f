// Redis runs this for each consumption, as one step that nothing comes between.

/**
 * Takes the place of the script of rate-limiter-flexible. That one knows windows of whole seconds alone, and begins a block
 * with a second command, which an instance that ends in between never sends.
 *
 * KEYS[1] is the counter. ARGV: the cost; the length of the window in milliseconds; the points; one that the library adds
 * and that is not used; for how many milliseconds a key that went over is blocked, 0 for the rest of its window.
 *
 * The answer is how many points are consumed, and for how many milliseconds the key's window, or its block, lasts. A key
 * that is over is not counted further: its number stays small, and its block does not become longer.
 */
export const consumeScript = `
local cost, window, points, block = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[5]
local consumed = tonumber(redis.call('get', KEYS[1]) or 0)
local left = redis.call('pttl', KEYS[1])
if cost == 0 or (consumed > points and left >= 0) then
  return {consumed, math.max(left, 0)}
end
consumed = redis.call('incrby', KEYS[1], ARGV[1])
local lasts = left < 0 and window
if consumed > points and block ~= '0' then lasts = block end
if lasts then
  redis.call('pexpire', KEYS[1], lasts)
  left = tonumber(lasts)
end
return {consumed, left}
`;
