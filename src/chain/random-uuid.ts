// Random UUIDs (RFC 9562 section 5.4), each a string in one piece. Node's `randomUUID` joins twenty pieces, which whoever
// writes the id has to put together, and which all live on while a record waits to be written.
import { Buffer } from "node:buffer";
import { randomFillSync } from "node:crypto";

const bytesEach = 16;
/** Random bytes for so many at once: asking for them costs more than making them. */
const pool: Buffer = Buffer.alloc(bytesEach * 128);
let used = pool.length;

const digits: Buffer = Buffer.from("0123456789abcdef", "latin1");
const text: Buffer = Buffer.from("00000000-0000-0000-0000-000000000000", "latin1");
/** Where the two digits of each byte stand. */
const places: readonly number[] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

export function randomUuid(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  // The version and the variant.
  pool[used + 6] = ((pool[used + 6] as number) & 0x0f) | 0x40;
  pool[used + 8] = ((pool[used + 8] as number) & 0x3f) | 0x80;
  for (let i = 0; i < bytesEach; i++) {
    const byte = pool[used + i] as number;
    const place = places[i] as number;
    text[place] = digits[byte >> 4] as number;
    text[place + 1] = digits[byte & 15] as number;
    // What an id is made of is in no memory beside the id.
    pool[used + i] = 0;
  }
  used += bytesEach;
  return text.toString("latin1");
}
