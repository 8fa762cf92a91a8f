// No parser of text that a caller chose takes more than linear time (L11): hostile text of growing size, and the time for
// a byte stays what it was.
import { Buffer } from "node:buffer";
import { expect } from "vitest";
import { cpuMs } from "./cpu-time.ts";

/** From what an ordinary header has to four times what HTTP/2 lets through by default. */
const sizes = [1, 4, 16, 64].map((kilobytes) => kilobytes * 1024);

/** A quadratic parser is 64 times slower for a byte of the largest text than of the smallest one. */
const mostTimesSlower = 8;
/** And no parser of ours needs as long as this for a byte, on a slow and busy machine: below it nothing is compared. */
const fastEnoughMs = 5e-3;

/** Where each text begins, what is repeated in it, and where it ends: what a parser took must not fit in the end. */
const hostile: readonly (readonly [begin: string, repeated: string, end: string])[] = [
  ["", "a", ""],
  ["", "a", "\u0000"],
  ["", " ", ""],
  ["", " ", '"'],
  ["a=", " ", '"'],
  ["a=b", " ", '"'],
  ["a=b", "  \t", "x"],
  ["", "\t ", "="],
  ["a=", '"', ""],
  ["", 'a="b"', ""],
  ['a="', "\\", ""],
  ['a="', "\\\\", '"'],
  ['a="', '\\"', ""],
  ['a="', "\\\"'", "\\"],
  ["", ",", ""],
  ["", ";", ""],
  ["", "a=b;", '"'],
  ["", "a=b,", '"'],
  ["", "a=", ""],
  ["", "=", ""],
  ["", "%", ""],
  ["", "%41", "%"],
  ["", "%E0%A4%A", ""],
  ["", "1", ""],
  ["", "1", "x"],
  ["", "1.", ""],
  ["", "1.1.1.1,", ""],
  ["", "127.0.0.1,", "x"],
  ["", "127.0.0.1 ,", ""],
  ["", "[::1],", ""],
  ["[", ":", "]"],
  ["", "[", ""],
  ["CN=", "\\,", '"'],
  ["CN=", "a+b", '"'],
  ["CN=", "a=b,", '"'],
  ["", "CN=a,", '"'],
  ["CN=", "\\C3\\A9", "\\"],
  ["", "DNS:a, ", "!"],
  ["", 'URI:"', ""],
  ['URI:"', "\\", ""],
  ["URI:", " ", '"'],
  ["spiffe://a", "/a", "#"],
  ["spiffe://a", "/", ""],
  ["", "a.", ""],
  ["", "a-", "!"],
  ["", "{", ""],
  ["", '{"a":', ""],
  ["", "[", "]"],
  ["", '\\"', '"'],
  ["", "Bearer ", ""],
  ["bearer", " ", ""],
  ["", "password", "="],
  ["", "password=", ""],
  ["", 'token":"', ""],
  ["", "authorization: ", "\n"],
  ["", "cookie\\\\\\'", ""],
  ["", "://", "@"],
  ["://", "a", ""],
  ["", "://a:b", "@"],
  ["", "-----BEGIN PRIVATE KEY-----", ""],
  ["-----BEGIN ", "A ", "-----"],
  ["", "eyJ", "."],
  ["eyJ", "a.", ""],
  ["", "plsd_", ""],
  ["Basic ", "a", "="],
  ["", "/", ""],
  ["/a", ".", "/b"],
  ["", "\u00e9", ""],
  ["", "\u202e", ""],
  ["", "\ud800", ""],
  ["", "\n", ""],
  ["application/grpc", "+", ""],
  ["application/grpc-web", "-text", ""],
  ["00-", "0", "-01"],
];

function textOf([begin, repeated, end]: (typeof hostile)[number], length: number): string {
  const times = Math.max(0, Math.floor((length - begin.length - end.length) / repeated.length));
  // Flat, as a text from the wire is.
  return Buffer.from(begin + repeated.repeat(times) + end, "utf16le").toString("utf16le");
}

/** Parsers by what they read. */
export type Parsers = Readonly<Record<string, (text: string) => unknown>>;

/** Metadata with one field. */
export const header = (name: string, text: string) => ({
  get: (key: string) => (key === name ? [text] : []),
  getMap: () => ({}),
});

function msPerByte(parse: (text: string) => unknown, text: string): number {
  const times = Math.max(1, Math.floor(16_384 / text.length));
  const started = cpuMs();
  for (let i = 0; i < times; i++) {
    try {
      parse(text);
    } catch {
      // Refusing is an answer too.
    }
  }
  return (cpuMs() - started) / (times * text.length);
}

/** The best of several runs, of which there are no more than it needs. */
function best(parse: (text: string) => unknown, text: string, goodEnough: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4 && least > goodEnough; i++) least = Math.min(least, msPerByte(parse, text));
  return least;
}

/** The time that a parser takes grows with its text, and no faster. */
export function expectLinearTime(parse: (text: string) => unknown): void {
  for (const each of hostile) {
    const small = best(parse, textOf(each, sizes[0] ?? 0), 0);
    const most = Math.max(fastEnoughMs, mostTimesSlower * small);
    for (const size of sizes) {
      const taken = best(parse, textOf(each, size), most);
      expect(taken, `${size} characters of ${JSON.stringify(each)}`).toBeLessThanOrEqual(most);
    }
  }
}
