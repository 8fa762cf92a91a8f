/**
 * The one place that loads @bufbuild/cel, an optional peer: the parser and evaluator of CEL, with the decoder whose messages it
 * reads.
 */
import { createRequire } from "node:module";
import { loadOptional, type OptionalPackage } from "../config/optional-package.ts";
import { type ProtobufRuntime, protobufRuntime } from "../protobuf/runtime.ts";

type Cel = typeof import("@bufbuild/cel");

/** What the parser makes of a text. */
export type Parsed = ReturnType<Cel["parse"]>;
export type Expr = NonNullable<Parsed["expr"]>;

/** RE2 as @bufbuild/cel brings it, which compiles a pattern anew each time that it is used. */
type Re2 = NonNullable<NonNullable<Parameters<Cel["celEnv"]>[0]>["re2"]>;

export interface Bufbuild extends ProtobufRuntime {
  readonly cel: Cel;
  /** Undefined where a bundle hides it: patterns are then compiled at each use. */
  readonly re2: Re2 | undefined;
}

const needs: OptionalPackage = {
  neededBy: "grpc-palisade/cel",
  install: "@bufbuild/cel @bufbuild/protobuf",
};

let loaded: Bufbuild | undefined;

/** @throws {ConfigError} where one of them is not installed. */
export function bufbuild(): Bufbuild {
  loaded ??= { cel: loadCel(), re2: re2OfCel(), ...protobufRuntime(needs) };
  return loaded;
}

/** The written `require()` is what a bundler sees; our sources, which are ECMAScript modules, have none. */
function loadCel(): Cel {
  return loadOptional("@bufbuild/cel", needs, (name) =>
    typeof require === "function" ? require("@bufbuild/cel") : createRequire(import.meta.url)(name),
  ) as Cel;
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
