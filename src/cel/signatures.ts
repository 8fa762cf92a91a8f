// The operators and functions that a condition may use: which values they take, and what they give.
import { common, fits, listOf, nameOf, type Type, types } from "./types.ts";

/** What a call gives, or what is wrong with it. */
export type Outcome = { readonly type: Type } | { readonly problem: string };

export type Signature = (args: readonly Type[]) => Outcome;

const infix = /^_(.+)_$/;

/** As it stands in a text: `_==_` is `==`. */
export function operatorName(name: string): string {
  if (name === "@in") return "in";
  if (name === "!_") return "!";
  return name === "-_" ? "-" : (infix.exec(name)?.[1] ?? name);
}

function gives(type: Type): Outcome {
  return { type };
}

function wrong(name: string, args: readonly Type[], hint = ""): Outcome {
  return { problem: `${operatorName(name)} cannot take ${args.map(nameOf).join(" and ")}${hint}` };
}

/** Each row: what is taken, and what it gives. */
type Row = readonly [takes: readonly Type[], gives: Type];

function oneOf(name: string, rows: readonly Row[]): Signature {
  return (args) => {
    const found = rows.filter(
      ([takes]) =>
        takes.length === args.length && takes.every((type, i) => fits(type, args[i] ?? types.null)),
    );
    const [first] = found;
    if (first === undefined) return wrong(name, args, hintFor(args));
    return gives(found.every(([, type]) => fits(type, first[1])) ? first[1] : types.dyn);
  };
}

function hintFor(args: readonly Type[]): string {
  const kinds = args.map(({ kind }) => kind);
  if (kinds.includes("int") && kinds.includes("uint"))
    return "; write an unsigned number as 5u, or convert one of them with int(…)";
  if (kinds.includes("double") && (kinds.includes("int") || kinds.includes("uint")))
    return "; write 5.0, or convert one of them with double(…)";
  return "";
}

const ordered: readonly Type[] = [
  types.bool,
  types.int,
  types.uint,
  types.double,
  types.string,
  types.bytes,
  types.timestamp,
  types.duration,
];
const numbers: readonly Type[] = [types.int, types.uint, types.double];
const text = types.string;

function same(name: string): Signature {
  return ([a = types.dyn, b = types.dyn]) =>
    fits(a, b) ? gives(types.bool) : wrong(name, [a, b], hintFor([a, b]));
}

function comparison(name: string): readonly [string, Signature] {
  return [
    name,
    oneOf(
      name,
      ordered.map((type) => [[type, type], types.bool]),
    ),
  ];
}

function arithmetic(
  name: string,
  among: readonly Type[],
  more: readonly Row[] = [],
): readonly [string, Signature] {
  return [name, oneOf(name, [...among.map((type): Row => [[type, type], type]), ...more])];
}

function conversion(name: string, to: Type, from: readonly Type[]): readonly [string, Signature] {
  return [
    name,
    oneOf(
      name,
      from.map((type) => [[type], to]),
    ),
  ];
}

const plus = arithmetic(
  "_+_",
  [...numbers, text, types.bytes, types.duration],
  [
    [[types.timestamp, types.duration], types.timestamp],
    [[types.duration, types.timestamp], types.timestamp],
  ],
);

/** Two lists make one; everything else is as the table says. */
const plusOrLists: Signature = (args) => {
  const [a, b] = args;
  if (a?.kind === "list" && b?.kind === "dyn") return gives(a);
  if (a?.kind === "dyn" && b?.kind === "list") return gives(b);
  if (a?.kind !== "list" || b?.kind !== "list") return plus[1](args);
  const element = common(a.element, b.element);
  return element === undefined ? wrong("_+_", args) : gives(listOf(element));
};

const inside: Signature = (args) => {
  const [value = types.dyn, within = types.dyn] = args;
  if (within.kind === "dyn") return gives(types.bool);
  if (within.kind === "list" && fits(value, within.element)) return gives(types.bool);
  if (within.kind === "map" && fits(value, within.key)) return gives(types.bool);
  return wrong("@in", args);
};

const sized: Signature = (args) => {
  const [value = types.dyn, ...rest] = args;
  const kind = value.kind === "wrapper" ? value.of.kind : value.kind;
  const known = ["string", "bytes", "list", "map", "dyn"].includes(kind);
  return known && rest.length === 0 ? gives(types.int) : wrong("size", args);
};

/** Operators, and functions that stand before their values. */
export const functions: ReadonlyMap<string, Signature> = new Map<string, Signature>([
  ["!_", oneOf("!_", [[[types.bool], types.bool]])],
  ["_==_", same("_==_")],
  ["_!=_", same("_!=_")],
  comparison("_<_"),
  comparison("_<=_"),
  comparison("_>_"),
  comparison("_>=_"),
  ["_+_", plusOrLists],
  arithmetic(
    "_-_",
    [...numbers, types.duration],
    [
      [[types.timestamp, types.timestamp], types.duration],
      [[types.timestamp, types.duration], types.timestamp],
    ],
  ),
  arithmetic("_*_", numbers),
  arithmetic("_/_", numbers),
  arithmetic("_%_", [types.int, types.uint]),
  [
    "-_",
    oneOf("-_", [
      [[types.int], types.int],
      [[types.double], types.double],
    ]),
  ],
  ["@in", inside],
  ["size", sized],
  conversion("int", types.int, [...numbers, text, types.timestamp]),
  conversion("uint", types.uint, [...numbers, text]),
  conversion("double", types.double, [...numbers, text]),
  conversion("string", text, ordered),
  conversion("bool", types.bool, [types.bool, text]),
  conversion("bytes", types.bytes, [types.bytes, text]),
  conversion("timestamp", types.timestamp, [types.timestamp, text, types.int]),
  conversion("duration", types.duration, [types.duration, text]),
  ["dyn", () => gives(types.dyn)],
]);

function test(name: string): readonly [string, Signature] {
  return [name, oneOf(name, [[[text, text], types.bool]])];
}

/** Of a duration's milliseconds implementations think differently. */
const ofTimestamps = [
  "getFullYear",
  "getMonth",
  "getDate",
  "getDayOfMonth",
  "getDayOfWeek",
  "getDayOfYear",
  "getMilliseconds",
];
const ofBoth = ["getHours", "getMinutes", "getSeconds"];

function timePart(name: string, of: readonly Type[]): readonly [string, Signature] {
  return [
    name,
    oneOf(
      name,
      of.map((type) => [[type], types.int]),
    ),
  ];
}

/** Functions that stand behind their first value: `text.contains("a")`. */
export const methods: ReadonlyMap<string, Signature> = new Map<string, Signature>([
  test("contains"),
  test("startsWith"),
  test("endsWith"),
  test("matches"),
  ["size", sized],
  ...ofTimestamps.map((name) => timePart(name, [types.timestamp])),
  ...ofBoth.map((name) => timePart(name, [types.timestamp, types.duration])),
]);
