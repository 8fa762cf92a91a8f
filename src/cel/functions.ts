// Functions of CEL that @bufbuild/cel has otherwise: slower than linear, or with other answers than cel-go.
import { Buffer } from "node:buffer";
import type { CelFunc, CelUint } from "@bufbuild/cel";
import { bufbuild } from "./bufbuild.ts";

const minInt = -(2n ** 63n);
const maxInt = 2n ** 63n - 1n;
const maxUint = 2n ** 64n - 1n;

let made: readonly CelFunc[] | undefined;

export function ownFunctions(): CelFunc[] {
  made ??= [...textFunctions(), ...arithmetic(), ...conversions(), ...timeFunctions()];
  return [...made];
}

function textFunctions(): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { BOOL, INT, STRING } = cel.CelScalar;
  const order: readonly (readonly [string, (order: number) => boolean])[] = [
    ["_<_", (order) => order < 0],
    ["_<=_", (order) => order <= 0],
    ["_>_", (order) => order > 0],
    ["_>=_", (order) => order >= 0],
  ];
  return [
    cel.celMethod("contains", STRING, [STRING], BOOL, function (part) {
      return contains(this, part);
    }),
    cel.celFunc("size", [STRING], INT, codePoints),
    cel.celMethod("size", STRING, [], INT, function () {
      return codePoints(this);
    }),
    ...order.map(([name, holds]) =>
      cel.celFunc(name, [STRING, STRING], BOOL, (a, b) =>
        holds(Buffer.compare(Buffer.from(a), Buffer.from(b))),
      ),
    ),
  ];
}

/** Below it even the slowest search is quick. */
const quickSearch = 1_000_000;

/** V8's search may compare every character of one with every one of the other; Knuth, Morris and Pratt's does not. */
export function contains(text: string, part: string): boolean {
  if (text.length * part.length <= quickSearch) return text.includes(part);
  const borders = bordersOf(part);
  let matched = 0;
  for (let i = 0; i < text.length; i += 1) {
    while (matched > 0 && text.charCodeAt(i) !== part.charCodeAt(matched))
      matched = borders[matched - 1] ?? 0;
    if (text.charCodeAt(i) === part.charCodeAt(matched)) matched += 1;
    if (matched === part.length) return true;
  }
  return false;
}

/** For each beginning of `part`, how long a beginning of it is its end too. */
function bordersOf(part: string): Uint32Array {
  const borders = new Uint32Array(part.length);
  let matched = 0;
  for (let i = 1; i < part.length; i += 1) {
    while (matched > 0 && part.charCodeAt(i) !== part.charCodeAt(matched))
      matched = borders[matched - 1] ?? 0;
    if (part.charCodeAt(i) === part.charCodeAt(matched)) matched += 1;
    borders[i] = matched;
  }
  return borders;
}

function codePoints(text: string): bigint {
  let pairs = 0;
  for (let i = 1; i < text.length; i += 1) {
    if (isSurrogate(text, i - 1, 0xd8) && isSurrogate(text, i, 0xdc)) pairs += 1;
  }
  return BigInt(text.length - pairs);
}

/** The two halves differ in their upper six bits. */
function isSurrogate(text: string, at: number, half: 0xd8 | 0xdc): boolean {
  return (text.charCodeAt(at) & 0xfc00) === half << 8;
}

/** The library divides by the bounds of an int, whatever it divides. */
function arithmetic(): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { INT, UINT } = cel.CelScalar;
  return [
    cel.celFunc("_/_", [UINT, UINT], UINT, (a, b): CelUint => {
      if (b.value === 0n) throw new Error("divide by zero");
      return cel.celUint(a.value / b.value);
    }),
    cel.celFunc("_%_", [INT, INT], INT, (a, b) => {
      if (b === 0n) throw new Error("modulus by zero");
      if (a === minInt && b === -1n) throw new Error("int overflow");
      return a % b;
    }),
  ];
}

function conversions(): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { BOOL, DOUBLE, INT, STRING, UINT } = cel.CelScalar;
  return [
    cel.celFunc("bool", [STRING], BOOL, (text) => {
      if (/^(?:1|t|T|true|True|TRUE)$/.test(text)) return true;
      if (/^(?:0|f|F|false|False|FALSE)$/.test(text)) return false;
      throw new Error("bool: neither true nor false");
    }),
    cel.celFunc("int", [STRING], INT, (text) => whole(text, /^[+-]?[0-9]{1,19}$/, [minInt, maxInt])),
    cel.celFunc(
      "uint",
      [STRING],
      UINT,
      (text): CelUint => cel.celUint(whole(text, /^[0-9]{1,20}$/, [0n, maxUint])),
    ),
    cel.celFunc("double", [STRING], DOUBLE, double),
    cel.celFunc("string", [DOUBLE], STRING, textOfDouble),
  ];
}

function double(text: string): number {
  if (/^nan$/i.test(text)) return Number.NaN;
  const [, minus = "", infinity] = /^(?:\+|(-))?(inf(?:inity)?)$/i.exec(text) ?? [];
  if (infinity !== undefined) return minus === "" ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  if (!/^[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:e[+-]?[0-9]{1,5})?$/i.test(text))
    throw new Error("double: not a number");
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error("double: out of range");
  return value;
}

/** The fewest digits that tell it from its neighbours, with an exponent below 0.0001 and from a million on. */
export function textOfDouble(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : "-Inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [digits = "", exponent = ""] = value.toExponential().split("e");
  if (Number(exponent) >= -4 && Number(exponent) < 6) return String(value);
  return `${digits}e${exponent.slice(0, 1)}${exponent.slice(1).padStart(2, "0")}`;
}

function whole(text: string, form: RegExp, [least, most]: readonly [bigint, bigint]): bigint {
  if (!form.test(text)) throw new Error("int: not a whole number");
  const value = BigInt(text.replace(/^\+/, ""));
  if (value < least || value > most) throw new Error("int: out of range");
  return value;
}

/** RFC 3339, where Z and T are capitals. */
const timestampForm =
  /^(\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d+))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/;

/** The year 1 to the year 9999. */
const leastSeconds = -62_135_596_800n;
const mostSeconds = 253_402_300_799n;

/** The library's takes days that a month does not have. */
function timestampIn(text: string): { readonly seconds: bigint; readonly nanos: number } {
  const [, local = "", fraction = "", sign, hours, minutes] = timestampForm.exec(text) ?? [];
  const ms = Date.parse(`${local}Z`);
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, local.length) !== local)
    throw new Error("timestamp: not as RFC 3339 writes it");
  const offset = BigInt((sign === "-" ? -60 : 60) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0)));
  const seconds = BigInt(ms / 1_000) - offset;
  checkSeconds(seconds);
  return { seconds, nanos: Number(fraction.slice(0, 9).padEnd(9, "0")) };
}

function checkSeconds(seconds: bigint): void {
  if (seconds < leastSeconds || seconds > mostSeconds) throw new Error("timestamp: out of range");
}

const durationParts = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;
const durationForm = new RegExp(`^([+-]?)(?:0|(?:${durationParts.source})+)$`);
const nanosOf: ReadonlyMap<string, bigint> = new Map([
  ["ns", 1n],
  ["us", 1_000n],
  ["µs", 1_000n],
  ["μs", 1_000n],
  ["ms", 1_000_000n],
  ["s", 1_000_000_000n],
  ["m", 60_000_000_000n],
  ["h", 3_600_000_000_000n],
]);
const maxDurationText = 128;

/** The library takes an empty text. */
function durationIn(text: string): { readonly seconds: bigint; readonly nanos: number } {
  const [, sign] = text.length > maxDurationText ? [] : (durationForm.exec(text) ?? []);
  if (sign === undefined) throw new Error("duration: no duration, such as 1h30m or 1.5s");
  let nanos = 0n;
  for (const [, value = "", unit = ""] of text.matchAll(durationParts)) {
    const [whole = "", fraction = ""] = value.split(".");
    const one = nanosOf.get(unit) ?? 0n;
    nanos += BigInt(whole) * one + (BigInt(fraction) * one) / 10n ** BigInt(fraction.length);
  }
  if (sign === "-") nanos = -nanos;
  if (nanos < minInt || nanos > maxInt) throw new Error("duration: out of range");
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) };
}

/** The library goes through the time zone of the process, in which some hours do not exist. */
function timeFunctions(): readonly CelFunc[] {
  const { cel, protobuf, wkt } = bufbuild();
  const { INT, STRING } = cel.CelScalar;
  const timestamp = cel.objectType(wkt.TimestampSchema);
  const duration = cel.objectType(wkt.DurationSchema);
  const parts: readonly (readonly [string, (date: Date) => number])[] = [
    ["getFullYear", (date) => date.getUTCFullYear()],
    ["getMonth", (date) => date.getUTCMonth()],
    ["getDate", (date) => date.getUTCDate()],
    ["getDayOfMonth", (date) => date.getUTCDate() - 1],
    ["getDayOfWeek", (date) => date.getUTCDay()],
    ["getDayOfYear", dayOfYear],
    ["getHours", (date) => date.getUTCHours()],
    ["getMinutes", (date) => date.getUTCMinutes()],
    ["getSeconds", (date) => date.getUTCSeconds()],
    ["getMilliseconds", (date) => date.getUTCMilliseconds()],
  ];
  return [
    ...parts.map(([name, part]) =>
      cel.celMethod(name, timestamp, [], INT, function () {
        return BigInt(part(wkt.timestampDate(this.message)));
      }),
    ),
    cel.celFunc("timestamp", [INT], timestamp, (seconds) => {
      checkSeconds(seconds);
      return protobuf.create(wkt.TimestampSchema, { seconds });
    }),
    cel.celFunc("timestamp", [STRING], timestamp, (text) =>
      protobuf.create(wkt.TimestampSchema, timestampIn(text)),
    ),
    cel.celFunc("string", [timestamp], STRING, ({ message: { seconds, nanos } }) => {
      checkSeconds(seconds);
      const local = new Date(Number(seconds) * 1_000).toISOString().slice(0, 19);
      return `${local}${withoutZeros(`.${String(nanos).padStart(9, "0")}`)}Z`;
    }),
    cel.celFunc("string", [duration], STRING, ({ message: { seconds, nanos } }) => {
      const value = Number(seconds) + nanos / 1e9;
      return `${Math.abs(value) < 1e-6 ? withoutZeros(value.toFixed(9)) : String(value)}s`;
    }),
    cel.celFunc("duration", [STRING], duration, (text) =>
      protobuf.create(wkt.DurationSchema, durationIn(text)),
    ),
    // In cel-go these are nanoseconds.
    cel.celFunc("int", [duration], INT, () => {
      throw new Error("int: a duration is no number; compare it with another duration");
    }),
  ];
}

/** At the end of a fraction, which they may be all of. */
function withoutZeros(fraction: string): string {
  return fraction.replace(/\.?0+$/, "");
}

function dayOfYear(date: Date): number {
  const first = new Date(date);
  first.setUTCMonth(0, 1);
  return Math.round((date.getTime() - first.getTime()) / 86_400_000);
}
