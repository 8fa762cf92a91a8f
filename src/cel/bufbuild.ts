/**
 * The one place that loads @bufbuild/cel and @bufbuild/protobuf, which are optional peers: the parser and evaluator of CEL,
 * and the decoder whose messages it reads.
 */
import { createRequire } from "node:module";
import { loadOptional } from "../config/optional-package.ts";

type Cel = typeof import("@bufbuild/cel");
type Protobuf = typeof import("@bufbuild/protobuf");
type WellKnownTypes = typeof import("@bufbuild/protobuf/wkt");
type Reflection = typeof import("@bufbuild/protobuf/reflect");

/** What the parser makes of a text. */
export type Parsed = ReturnType<Cel["parse"]>;
export type Expr = NonNullable<Parsed["expr"]>;

/** RE2 as @bufbuild/cel brings it, which compiles a pattern anew each time that it is used. */
type Re2 = NonNullable<NonNullable<Parameters<Cel["celEnv"]>[0]>["re2"]>;

export interface Bufbuild {
  readonly cel: Cel;
  /** Undefined where a bundle hides it: patterns are then compiled at each use. */
  readonly re2: Re2 | undefined;
  readonly protobuf: Protobuf;
  readonly wkt: WellKnownTypes;
  readonly reflection: Reflection;
}

let loaded: Bufbuild | undefined;

/** @throws {ConfigError} where one of them is not installed. */
export function bufbuild(): Bufbuild {
  loaded ??= {
    cel: load("@bufbuild/cel", () => require("@bufbuild/cel")) as Cel,
    re2: re2OfCel(),
    protobuf: load("@bufbuild/protobuf", () => require("@bufbuild/protobuf")) as Protobuf,
    wkt: load("@bufbuild/protobuf/wkt", () => require("@bufbuild/protobuf/wkt")) as WellKnownTypes,
    reflection: load("@bufbuild/protobuf/reflect", () => require("@bufbuild/protobuf/reflect")) as Reflection,
  };
  return loaded;
}

/** A dependency of @bufbuild/cel, which is there from where that is. */
function re2OfCel(): Re2 | undefined {
  try {
    const cel = createRequire(import.meta.url).resolve("@bufbuild/cel");
    const { RE2JS } = createRequire(cel)("@bufbuild/re2") as { readonly RE2JS: Re2 };
    return RE2JS;
  } catch {
    return undefined;
  }
}

/** `written` is the `require()` that a bundler sees; our sources, which are ECMAScript modules, have none. */
function load(name: string, written: () => unknown): unknown {
  return loadOptional(
    name,
    { neededBy: "grpc-palisade/cel", install: "@bufbuild/cel @bufbuild/protobuf" },
    () => (typeof require === "function" ? written() : createRequire(import.meta.url)(name)),
  );
}
