// Functions of CEL that @bufbuild/cel has otherwise: slower than linear, or with other answers than cel-go.
import { Buffer } from "node:buffer";
import type { CelFunc, CelUint } from "@bufbuild/cel";
import { bufbuild } from "./bufbuild.ts";

const minInt = -(2n ** 63n);
const maxInt = 2n ** 63n - 1n;
const maxUint = 2n ** 64n - 1n;

let made: readonly CelFunc[] | undefined;

export function ownFunctions(): CelFunc[] {
  made ??= [...textFunctions(), ...conversions(), ...timeFunctions()];
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
    cel.celFunc("double", [STRING], DOUBLE, (text) => {
      if (!/^[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:e[+-]?[0-9]{1,5})?$/i.test(text))
        throw new Error("double: not a number");
      return Number(text);
    }),
  ];
}

function whole(text: string, form: RegExp, [least, most]: readonly [bigint, bigint]): bigint {
  if (!form.test(text)) throw new Error("int: not a whole number");
  const value = BigInt(text.replace(/^\+/, ""));
  if (value < least || value > most) throw new Error("int: out of range");
  return value;
}

/** The library goes through the time zone of the process, in which some hours do not exist. */
function timeFunctions(): readonly CelFunc[] {
  const { cel, protobuf, wkt } = bufbuild();
  const { INT } = cel.CelScalar;
  const timestamp = cel.objectType(wkt.TimestampSchema);
  const parts: readonly (readonly [string, (date: Date) => number])[] = [
    ["getFullYear", (date) => date.getUTCFullYear()],
    ["getMonth", (date) => date.getUTCMonth()],
    ["getDate", (date) => date.getUTCDate()],
    ["getDayOfMonth", (date) => date.getUTCDate() - 1],
    ["getDayOfWeek", (date) => date.getUTCDay()],
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
      // The year 1 to the year 9999.
      if (seconds < -62_135_596_800n || seconds > 253_402_300_799n)
        throw new Error("timestamp: out of range");
      return protobuf.create(wkt.TimestampSchema, { seconds });
    }),
  ];
}
