// The table of the rate limiter, fed directly with peers that never come back.
import { performance } from "node:perf_hooks";
import { MemoryRateLimiter } from "../../src/middleware/rate-limit/memory-rate-limiter.ts";
import { answerAsks } from "../process/ask.ts";
import type { LimiterAsks } from "../process/protocol.ts";
import { memoryInUse } from "../process/usage.ts";

// A window as long as the run: nothing leaves the table because its time is over.
const limiter = new MemoryRateLimiter({ points: 1_000, durationSec: 3_600 });
let peers = 0;

answerAsks<LimiterAsks>({
  feed({ peers: more }) {
    for (const end = peers + more; peers < end; peers += 1)
      limiter.consume(`peer-${peers}`, 1, performance.now());
    return { ...memoryInUse(), keys: limiter.size };
  },
});
