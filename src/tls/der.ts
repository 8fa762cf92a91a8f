// A reader of DER (ITU-T X.690), as far as certificates and their revocation lists need it: definite lengths in their shortest
// form, tags of one byte. Strict, because what it reads decides who gets in: nothing is skipped, guessed or read twice.
import type { Buffer } from "node:buffer";

/** The bytes are not what they should be. The message says what, without what they hold. */
export class DerError extends Error {
  override readonly name = "DerError";
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  sequence: 0x30,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** A context-specific tag, constructed: `[0]`, `[3]`. */
export function contextTag(number: number): number {
  return 0xa0 | number;
}

/** A context-specific tag, primitive. */
export function primitiveContextTag(number: number): number {
  return 0x80 | number;
}

/** Walks through the elements of one constructed value, each once and in order. */
export class DerReader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#position === this.#bytes.length;
  }

  /** The tag of the next element; undefined at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#position];
  }

  /** The contents of the next element, which must have this tag. */
  take(tag: number, what: string): Buffer {
    return this.#element(tag, what).contents;
  }

  /** The next element as a whole, its tag and length included. */
  takeWhole(tag: number, what: string): Buffer {
    return this.#element(tag, what).whole;
  }

  /** The contents of the next element where it has this tag; undefined otherwise. */
  takeOptional(tag: number, what: string): Buffer | undefined {
    return this.nextTag === tag ? this.take(tag, what) : undefined;
  }

  /** Nothing may be left. */
  end(what: string): void {
    if (!this.done) throw new DerError(`${what}: something follows that does not belong there`);
  }

  #element(tag: number, what: string): { readonly contents: Buffer; readonly whole: Buffer } {
    const bytes = this.#bytes;
    const start = this.#position;
    if (bytes[start] !== tag) throw new DerError(`${what}: missing, or of another type`);
    const first = bytes[start + 1];
    if (first === undefined) throw cutOff(what);
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    let length = first < 0x80 ? first : 0;
    if (first >= 0x80) {
      // 0 is the indefinite length of BER; more than four bytes are no file that anybody has.
      if (lengthBytes === 0 || lengthBytes > 4) throw new DerError(`${what}: its length is not DER`);
      if (start + 2 + lengthBytes > bytes.length) throw cutOff(what);
      length = bytes.readUIntBE(start + 2, lengthBytes);
      if (length < 0x80 || length < 2 ** (8 * (lengthBytes - 1)))
        throw new DerError(`${what}: its length is not in the shortest form`);
    }
    const from = start + 2 + lengthBytes;
    const to = from + length;
    if (to > bytes.length) throw cutOff(what);
    this.#position = to;
    return { contents: bytes.subarray(from, to), whole: bytes.subarray(start, to) };
  }
}

function cutOff(what: string): DerError {
  return new DerError(`${what}: cut off`);
}

/** The one element that the bytes consist of. */
export function only(bytes: Buffer, tag: number, what: string): Buffer {
  const reader = new DerReader(bytes);
  const contents = reader.take(tag, what);
  reader.end(what);
  return contents;
}

/** An INTEGER's contents in hexadecimal, to be compared: without the zero bytes that BER allows in front. */
export function integerOf(contents: Buffer, what: string): string {
  if (contents.length === 0) throw new DerError(`${what}: an empty number`);
  let from = 0;
  while (from + 1 < contents.length && contents[from] === 0 && (contents[from + 1] ?? 0) < 0x80) from += 1;
  return contents.toString("hex", from);
}

const utcTime = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;
const generalizedTime = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;

/** RFC 5280 section 4.1.2.5: a UTCTime or GeneralizedTime with seconds, in UTC; in milliseconds since the epoch. */
export function takeTime(reader: DerReader, what: string): number {
  const isUtc = reader.nextTag === tags.utcTime;
  const text = reader.take(isUtc ? tags.utcTime : tags.generalizedTime, what).toString("latin1");
  const match = (isUtc ? utcTime : generalizedTime).exec(text);
  if (match === null) throw new DerError(`${what}: not a time as RFC 5280 writes it`);
  const [years = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  const year = isUtc ? years + (years < 50 ? 2_000 : 1_900) : years;
  const time = Date.UTC(year, month - 1, day, hour, minute, second);
  const date = new Date(time);
  // `Date` takes the 31st of February for the 3rd of March.
  if (
    date.getUTCMonth() !== month - 1 ||
    date.getUTCDate() !== day ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  )
    throw new DerError(`${what}: no such time`);
  return time;
}

/** Is there a time next? */
export function isTimeNext(reader: DerReader): boolean {
  return reader.nextTag === tags.utcTime || reader.nextTag === tags.generalizedTime;
}

export interface DerExtension {
  /** Its object identifier, the contents in hexadecimal. */
  readonly id: string;
  readonly critical: boolean;
  readonly value: Buffer;
}

/** `Extensions` (RFC 5280 section 4.1): each at most once. */
export function extensionsIn(contents: Buffer, what: string): readonly DerExtension[] {
  const list = new DerReader(only(contents, tags.sequence, what));
  const found = new Map<string, DerExtension>();
  while (!list.done) {
    const reader = new DerReader(list.take(tags.sequence, what));
    const id = reader.take(tags.oid, what).toString("hex");
    const flag = reader.takeOptional(tags.boolean, what);
    // Left out is false. Of other values than these DER knows none; true is the strict reading of one that does not know it.
    const critical = flag !== undefined && !(flag.length === 1 && flag[0] === 0);
    const value = reader.take(tags.octetString, what);
    reader.end(what);
    if (found.has(id)) throw new DerError(`${what}: one of them is there twice`);
    found.set(id, { id, critical, value });
  }
  return [...found.values()];
}
