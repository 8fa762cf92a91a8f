/**
 * The one place that loads @bufbuild/protovalidate, an optional peer, and what it stands on: @bufbuild/protobuf, and the parser of
 * @bufbuild/cel, which reads what a rule in CEL may cost.
 */
import { createRequire } from "node:module";
import { loadOptional, type OptionalPackage } from "../config/optional-package.ts";
import { type ProtobufRuntime, protobufRuntime } from "../protobuf/runtime.ts";

type Protovalidate = typeof import("@bufbuild/protovalidate");
type Rules = typeof import("@bufbuild/protovalidate/gen/buf/validate/validate_pb.js");
type Cel = typeof import("@bufbuild/cel");
type CelStrings = typeof import("@bufbuild/cel/ext");

/** What the parser makes of a text. */
export type Parsed = ReturnType<Cel["parse"]>;
export type Expr = NonNullable<Parsed["expr"]>;

export interface Packages extends ProtobufRuntime {
  readonly protovalidate: Protovalidate;
  /** The messages and options of `buf/validate/validate.proto`. */
  readonly rules: Rules;
  readonly cel: Cel;
  readonly celStrings: CelStrings;
}

const needs: OptionalPackage = {
  neededBy: "grpc-palisade/protovalidate",
  install: "@bufbuild/protovalidate @bufbuild/protobuf @bufbuild/cel",
};

let loaded: Packages | undefined;

/** @throws {ConfigError} where one of them is not installed. */
export function packages(): Packages {
  loaded ??= {
    protovalidate: load("@bufbuild/protovalidate", () => require("@bufbuild/protovalidate")) as Protovalidate,
    rules: load("@bufbuild/protovalidate/gen/buf/validate/validate_pb.js", () =>
      require("@bufbuild/protovalidate/gen/buf/validate/validate_pb.js"),
    ) as Rules,
    cel: load("@bufbuild/cel", () => require("@bufbuild/cel")) as Cel,
    celStrings: load("@bufbuild/cel/ext", () => require("@bufbuild/cel/ext")) as CelStrings,
    ...protobufRuntime(needs),
  };
  return loaded;
}

/** `written` is the `require()` that a bundler sees; our sources, which are ECMAScript modules, have none. */
function load(name: string, written: () => unknown): unknown {
  return loadOptional(name, needs, () =>
    typeof require === "function" ? written() : createRequire(import.meta.url)(name),
  );
}
