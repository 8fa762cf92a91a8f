// Messages out of bytes, however these were cut.
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { framed, MessageFraming } from "../../src/transport/message-framing.ts";
import { expectRelativeCost } from "../harness/relative-cost.ts";

const limit = { maxReceivedBytes: 10_000 };

/** The messages in these bytes, when they come in pieces of this size. */
function read(
  bytes: Buffer,
  pieceBytes: number,
): { readonly messages: string[]; readonly framing: MessageFraming } {
  const framing = new MessageFraming(limit);
  const messages: string[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const error = framing.take(bytes.subarray(at, at + pieceBytes), (message, compressed) =>
      messages.push(`${compressed} ${message.toString("hex")}`),
    );
    expect(error).toBeUndefined();
  }
  return { messages, framing };
}

describe("length-prefixed messages", () => {
  const sent = [0, 1, 4, 5, 6, 100, 4_096, 9_999, 0, 10_000].map((size) => randomBytes(size));
  const bytes = Buffer.concat(sent.map((message) => framed(message)));

  it.each([1, 2, 3, 4, 5, 6, 7, 100, 4_095, 4_096, 4_097, 16_384, bytes.length])(
    "N4 are the same in pieces of %i bytes",
    (pieceBytes) => {
      const { messages, framing } = read(bytes, pieceBytes);
      expect(messages).toEqual(sent.map((message) => `false ${message.toString("hex")}`));
      expect(framing.isWithinMessage).toBe(false);
    },
  );

  it("N4 are incomplete at every other place", () => {
    const one = framed(Buffer.from("hello"));
    for (let end = 1; end < one.length; end++)
      expect(read(one.subarray(0, end), 3).framing.isWithinMessage, `${end} bytes`).toBe(true);
  });

  it("do not point into what they came in", () => {
    const large = Buffer.concat([framed(Buffer.from("hello")), Buffer.alloc(60_000)]);
    let kept: Buffer | undefined;
    new MessageFraming(limit).take(large.subarray(0, 10), (message) => {
      kept = message;
    });
    large.fill(0);
    expect(kept?.toString()).toBe("hello");
    expect(kept?.buffer).not.toBe(large.buffer);
  });

  it("L4 are refused by their prefix, before they come", () => {
    const framing = new MessageFraming(limit);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(limit.maxReceivedBytes + 1, 1);
    expect(framing.take(prefix, () => {})).toBe("length");
  });

  it("L4 take no memory for what has not come", () => {
    const maxReceivedBytes = 4 * 1024 * 1024;
    const begin = framed(Buffer.alloc(maxReceivedBytes)).subarray(0, 6);
    const before = process.memoryUsage().arrayBuffers;
    const begun = Array.from({ length: 100 }, () => new MessageFraming({ maxReceivedBytes }));
    for (const framing of begun) framing.take(begin, () => {});
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(maxReceivedBytes);
    for (const framing of begun) expect(framing.isWithinMessage).toBe(true);
  });

  it("L11 take linear time, in pieces of a byte", () => {
    const reading = (size: number) => {
      const bytes = framed(Buffer.alloc(size));
      const pieces = Array.from(bytes, (byte) => Buffer.of(byte));
      return () => {
        const framing = new MessageFraming({ maxReceivedBytes: size });
        for (const piece of pieces) framing.take(piece, () => {});
        expect(framing.isWithinMessage).toBe(false);
      };
    };
    // Sixteen times the bytes: quadratic work is 256 times as much. With fewer, one slow run of a few milliseconds is a failure.
    expectRelativeCost(reading(128 * 1024), reading(8 * 1024), 64);
  });

  it.each([2, 3, 128, 255])("N4 have no flag %i", (flag) => {
    const bytes = framed(Buffer.from("x"));
    bytes.writeUInt8(flag, 0);
    expect(new MessageFraming(limit).take(bytes, () => {})).toBe("flag");
  });
});
