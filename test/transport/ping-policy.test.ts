import { describe, expect, it } from "vitest";
import { PingPolicy } from "../../src/transport/ping-policy.ts";

interface Ping {
  readonly at: number;
  readonly busy?: boolean;
  readonly reset?: boolean;
}

/** At which of the pings the connection is ended; undefined where it is not. */
function endedBy(pings: readonly Ping[]): number | undefined {
  let now = 0;
  const connection = new PingPolicy({ minIntervalMs: 10_000, now: () => now }).watch();
  const at = pings.findIndex((ping) => {
    now = ping.at;
    return connection.tooMany({ busy: ping.busy ?? true, reset: ping.reset ?? false });
  });
  return at < 0 ? undefined : at;
}

const every = (ms: number, more: Omit<Ping, "at"> = {}): readonly Ping[] =>
  Array.from({ length: 50 }, (_, i) => ({ at: i * ms, ...more }));

const histories: readonly (readonly [string, readonly Ping[], number | undefined])[] = [
  ["every 10 s during a call", every(10_000), undefined],
  [
    "every 10 s, delivered up to a second early",
    every(10_000).map(({ at }, i) => ({ at: at - (i % 2) * 999 })),
    undefined,
  ],
  ["every 5 s during a call", every(5000), 3],
  ["all at once", every(0), 3],
  ["all at once, after data each time", every(0, { reset: true }), undefined],
  ["every 10 s without calls", every(10_000, { busy: false }), 3],
  ["every two hours without calls", every(7_200_000, { busy: false }), undefined],
  [
    "two early ones now and then",
    every(10_000)
      .flatMap(({ at }) => [{ at }, { at: at + 1 }, { at: at + 2 }])
      .map((ping, i) => ({ ...ping, reset: i % 3 === 0 })),
    undefined,
  ],
];

describe("L3 pings", () => {
  it.each(histories)("L3 %s", (_what, pings, ended) => {
    expect(endedBy(pings)).toBe(ended);
  });
});
