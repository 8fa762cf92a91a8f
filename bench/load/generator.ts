// The load generator: makes as many calls as it is told, so many at a time or so many a second, and times them.
import { Buffer } from "node:buffer";
import { connect as connectHttp2 } from "node:http2";
import { performance } from "node:perf_hooks";
import { answerAsks } from "../process/ask.ts";
import type { Connect, Load, LoadAsks, LoadResult, PacedLoad } from "../process/protocol.ts";
import { cpuMicroseconds } from "../process/usage.ts";
import { percentile } from "../statistics.ts";
import { LoadClient } from "./client.ts";
import { TokenPool } from "./token-pool.ts";

const pool = new TokenPool();
const targets = new Map<string, { readonly connect: Connect; readonly client: LoadClient }>();
let held: Promise<void>[] = [];

function target(name: string): { readonly connect: Connect; readonly client: LoadClient } {
  const known = targets.get(name);
  if (known === undefined) throw new Error(`not connected to ${name}`);
  return known;
}

answerAsks<LoadAsks>({
  tokens: ({ file }) => ({ count: pool.read(file) }),
  connect(connect) {
    targets.set(connect.target, { connect, client: new LoadClient(connect, pool) });
    return undefined;
  },
  run: (load) => {
    const { client } = target(load.target);
    return atOnce(load, () => client.call(load));
  },
  cancelled: (load) => {
    const { client } = target(load.target);
    return atOnce(load, () => client.cancel(load));
  },
  paced(load) {
    // What is left of a server that fell behind must not be cleared away at the next one's expense.
    globalThis.gc?.({ type: "minor" });
    return paced(load, target(load.target).client);
  },
  handshakes: ({ target: name, count, concurrency }) => {
    const { connect } = target(name);
    return atOnce({ calls: count, concurrency }, () => handshake(connect));
  },
  async hold({ target: name, calls }) {
    const { client } = target(name);
    held = Array.from({ length: calls }, () => client.hold());
    return undefined;
  },
  async released() {
    await Promise.all(held);
    held = [];
    return undefined;
  },
  cpu: () => cpuMicroseconds(),
});

/** A closed loop: each caller makes its next call when the last one has ended. */
async function atOnce(
  { calls, concurrency }: Pick<Load, "calls" | "concurrency">,
  call: () => Promise<void>,
): Promise<LoadResult> {
  const took = new Float64Array(calls);
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < calls) {
      const at = next;
      next += 1;
      const calledAt = performance.now();
      await call();
      took[at] = performance.now() - calledAt;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: Math.min(concurrency, calls) }, caller));
  return result(took, performance.now() - startedAt);
}

/**
 * An open loop: calls start when they are due, whether or not others have ended, and their time counts from then. It
 * turns with the event loop instead of sleeping, because timers of a millisecond would bunch the calls.
 */
function paced(load: PacedLoad, client: LoadClient): Promise<LoadResult> {
  const { calls: timed, untimedCalls, callsPerSec } = load;
  const calls = untimedCalls + timed;
  const took = new Float64Array(calls);
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    let started = 0;
    let ended = 0;
    const start = (at: number, dueAt: number): void => {
      client.call(load).then(() => {
        took[at] = performance.now() - dueAt;
        ended += 1;
        if (ended === calls) resolve(result(took.subarray(untimedCalls), performance.now() - startedAt));
      }, reject);
    };
    const turn = (): void => {
      for (; started < calls; started += 1) {
        const dueAt = startedAt + (started * 1_000) / callsPerSec;
        if (dueAt > performance.now()) break;
        start(started, dueAt);
      }
      if (started < calls) setImmediate(turn);
    };
    turn();
  });
}

function result(took: Float64Array, elapsedMs: number): LoadResult {
  took.sort();
  return { elapsedMs, p50Ms: percentile(took, 0.5), p99Ms: percentile(took, 0.99) };
}

/** A whole mutual TLS handshake, until the server's HTTP/2 settings say that it has taken the connection. */
function handshake({ port, identities: { ca, client } }: Connect): Promise<void> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, {
      ca: Buffer.from(ca),
      cert: client.cert,
      key: client.key,
    });
    session.on("error", reject);
    session.once("remoteSettings", () => {
      session.close();
      resolve();
    });
  });
}
