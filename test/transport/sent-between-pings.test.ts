import { describe, expect, it } from "vitest";
import { SentBetweenPings } from "../../src/transport/sent-between-pings.ts";

/** What happened before a ping, since the one before. */
interface Between {
  readonly written?: number;
  readonly read?: number;
  readonly settings?: number;
  readonly handedOver?: boolean;
  readonly sent: boolean;
}

/** An acknowledged ping, and the first one before that, which nothing is told from. */
const first: Between = { sent: false };
const ack = 17;

const histories: readonly (readonly [string, readonly Between[]])[] = [
  ["nothing", [first, { written: ack, sent: false }, { written: ack, sent: false }]],
  ["pings that are acknowledged late", [first, first, first, { written: 3 * ack, sent: false }]],
  ["DATA besides late acknowledgements", [first, first, first, { written: 3 * ack + 100, sent: true }]],
  ["DATA that was handed over before the last ping", [first, { written: ack + 16_393, sent: true }]],
  ["a small message", [first, { written: ack + 12, handedOver: true, sent: true }]],
  ["a message that waits for the window", [first, { written: ack, handedOver: true, sent: false }]],
  ["two window updates", [first, { written: ack + 26, read: 100, sent: false }]],
  [
    "window updates as an upload has them",
    [first, { written: ack + 26 * 30, read: 30 * 32_767, sent: false }, { written: ack + 26, sent: false }],
  ],
  [
    "an answer besides window updates",
    [first, { written: ack + 26 * 30 + 100, read: 29 * 32_767, sent: true }],
  ],
  ["acknowledged settings", [first, { written: ack + 90, read: 90, settings: 10, sent: false }]],
  [
    "settings that are acknowledged late",
    [first, { read: 90, settings: 10, sent: false }, { written: 2 * ack + 90, sent: false }],
  ],
];

describe("L3 what was sent between two pings", () => {
  it.each(histories)("L3 %s", (_what, history) => {
    const between = new SentBetweenPings();
    const traffic = { bytesWritten: 40, bytesRead: 60, settings: 1 };
    for (const { written = 0, read = 0, settings = 0, handedOver = false, sent } of history) {
      traffic.bytesWritten += written;
      traffic.bytesRead += read;
      traffic.settings += settings;
      expect(between.sent(traffic, handedOver)).toBe(sent);
    }
  });
});
