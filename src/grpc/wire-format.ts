// The wire format of Protocol Buffers, for the few small messages that are read and written without a runtime.
// Source: https://protobuf.dev/programming-guides/encoding/
import { Buffer } from "node:buffer";

/** One field of an encoded message. */
export type WireField =
  | { readonly number: number; readonly bytes: Buffer }
  | { readonly number: number; readonly value: bigint };

/** Not protobuf, or not all of it. */
export class WireError extends Error {}

/** A tag is a number of 32 bits. */
const maxTag = 2 ** 32 - 1;

/** The fields of a message, in their order. Throws `WireError`. */
export function wireFields(message: Uint8Array): readonly WireField[] {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  const fields: WireField[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new WireError("ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new WireError("has a number of more than ten bytes");
  };
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw new WireError("ends in the middle of a field");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    if (number === 0 || tag > maxTag) throw new WireError("has a field without a number");
    switch (tag % 8) {
      case 0:
        fields.push({ number, value: varint() });
        break;
      case 1:
        fields.push({ number, bytes: take(8) });
        break;
      case 2:
        fields.push({ number, bytes: take(Number(varint())) });
        break;
      case 5:
        fields.push({ number, bytes: take(4) });
        break;
      default:
        throw new WireError("has a field of an unknown kind");
    }
  }
  return fields;
}

/** The messages, texts or bytes of a field, in their order. */
export function messagesIn(fields: readonly WireField[], number: number): readonly Buffer[] {
  return fields.flatMap((field) => (field.number === number && "bytes" in field ? [field.bytes] : []));
}

/** A text; the last one where there are several, empty where there is none. */
export function textIn(fields: readonly WireField[], number: number): string {
  return messagesIn(fields, number).at(-1)?.toString("utf8") ?? "";
}

/** A signed number of 64 bits; the last one where there are several, 0 where there is none. */
export function integerIn(fields: readonly WireField[], number: number): bigint {
  const found = fields.findLast((field) => field.number === number && "value" in field);
  return found !== undefined && "value" in found ? BigInt.asIntN(64, found.value) : 0n;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A whole number from 0 to `Number.MAX_SAFE_INTEGER`. */
export function varintField(field: number, value: number): Buffer {
  return value === 0 ? Buffer.alloc(0) : Buffer.concat([varint(field << 3), varint(value)]);
}

export function bytesField(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.byteLength), value]);
}

export function stringField(field: number, value: string): Buffer {
  return value === "" ? Buffer.alloc(0) : bytesField(field, Buffer.from(value.toWellFormed(), "utf8"));
}
