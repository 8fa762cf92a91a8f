// Too long, too much, too many.
import { Buffer } from "node:buffer";
import { performance } from "node:perf_hooks";
import { Metadata } from "@grpc/grpc-js";
import { streamed } from "../answer.ts";
import { openSession, request } from "../attacker.ts";
import { keyPair, trustedRoot } from "../certificates.ts";
import type { DemoCall } from "../demo-call.ts";
import { callsPerMinute } from "../server.ts";
import { OrdersService } from "../service.ts";
import { getOrder } from "./orders.ts";

/** The longest that a stream may take in the demo. */
export const maxStreamMs = 2_000;

const thirtyDaysMs = 30 * 24 * 60 * 60 * 1_000;

export const limitCalls: readonly DemoCall[] = [
  {
    call: "WatchOrders with a deadline in 30 days",
    expected: "DEADLINE_EXCEEDED, at the cap",
    async make(demo) {
      const start = performance.now();
      const { status } = await streamed(
        demo.as("ada", "customer").watchOrders(new Metadata(), { deadline: Date.now() + thirtyDaysMs }),
      );
      const took = Math.round(performance.now() - start);
      const inTime = took >= maxStreamMs - 10 && took < 4 * maxStreamMs;
      return {
        result: `${codeOf(status)}, ${inTime ? "at the cap" : "at another time"}`,
        remark: `${took} ms`,
      };
    },
  },
  {
    call: "9,000 bytes of metadata",
    expected: "RESOURCE_EXHAUSTED metadata too large",
    make(demo) {
      const metadata = new Metadata();
      metadata.set("x-padding", "x".repeat(9_000));
      return getOrder(demo.as("ada", "customer"), "o-1", metadata);
    },
  },
  {
    call: `flood: ${callsPerMinute + 50} calls at once by one principal`,
    expected: `${callsPerMinute} × OK, 50 × RESOURCE_EXHAUSTED`,
    async make(demo) {
      const mallory = demo.as("mallory", "customer");
      return tally(Array.from({ length: callsPerMinute + 50 }, () => getOrder(mallory, "o-1")));
    },
  },
  {
    call: "100 refused streams left open, then a good call",
    expected: "100 × UNAUTHENTICATED, then OK",
    async make(demo) {
      const session = openSession(`https://${demo.target}`, { ca: trustedRoot(), ...keyPair("client") });
      try {
        const open = Array.from({ length: 100 }, () =>
          request(session, "/orders.v1.Orders/UploadOrders", {}),
        );
        const refused = await tally(open);
        const authorization = `Bearer ${await demo.token()}`;
        const good = await request(
          session,
          "/orders.v1.Orders/GetOrder",
          { authorization },
          orderById("o-1"),
        );
        return `${refused}, then ${good}`;
      } finally {
        session.destroy();
      }
    },
  },
];

/** How often each code came: `2 × OK, 1 × UNAVAILABLE`. */
async function tally(calls: readonly Promise<string>[]): Promise<string> {
  const counts = new Map<string, number>();
  for (const result of await Promise.all(calls)) {
    const code = codeOf(result);
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  return [...counts]
    .sort()
    .map(([code, count]) => `${count} × ${code}`)
    .join(", ");
}

function codeOf(result: string): string {
  return /^\w+/.exec(result)?.[0] ?? result;
}

function orderById(id: string): Buffer {
  return OrdersService["GetOrder"]?.requestSerialize({ id }) ?? Buffer.alloc(0);
}
