/**
 * The one place that loads @bufbuild/protobuf, an optional peer: descriptors, and the decoder whose messages are read by
 * them.
 */
import { createRequire } from "node:module";
import { loadOptional, type OptionalPackage } from "../config/optional-package.ts";

type Protobuf = typeof import("@bufbuild/protobuf");
type WellKnownTypes = typeof import("@bufbuild/protobuf/wkt");
type Reflection = typeof import("@bufbuild/protobuf/reflect");

export interface ProtobufRuntime {
  readonly protobuf: Protobuf;
  readonly wkt: WellKnownTypes;
  readonly reflection: Reflection;
}

let loaded: ProtobufRuntime | undefined;

/** @throws {ConfigError} where it is not installed, with what `needs` says of who needs it. */
export function protobufRuntime(needs: OptionalPackage): ProtobufRuntime {
  loaded ??= {
    protobuf: load("@bufbuild/protobuf", needs, () => require("@bufbuild/protobuf")) as Protobuf,
    wkt: load("@bufbuild/protobuf/wkt", needs, () => require("@bufbuild/protobuf/wkt")) as WellKnownTypes,
    reflection: load("@bufbuild/protobuf/reflect", needs, () =>
      require("@bufbuild/protobuf/reflect"),
    ) as Reflection,
  };
  return loaded;
}

/** `written` is the `require()` that a bundler sees; our sources, which are ECMAScript modules, have none. */
function load(name: string, needs: OptionalPackage, written: () => unknown): unknown {
  return loadOptional(name, needs, () =>
    typeof require === "function" ? written() : createRequire(import.meta.url)(name),
  );
}
