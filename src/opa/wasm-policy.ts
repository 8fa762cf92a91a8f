// A policy in WebAssembly, by @open-policy-agent/opa-wasm, with what that leaves to its caller: a bound for memory, a clear word about what
// the policy needs and does not get, and a new instance after an evaluation that failed.

import { FileProblem } from "../config/bounded-file.ts";
import { didYouMean } from "../config/nearest-name.ts";
import { loadOptional } from "../config/optional-package.ts";
import { OpaFailure } from "./opa-failure.ts";
import type { OpaInput } from "./opa-input.ts";

/** Functions for built-ins that opa-wasm does not have. */
export type Builtins = Readonly<Record<string, (...args: never[]) => unknown>>;

/** What is used of the package. */
interface OpaWasmPackage {
  loadPolicySync(module: object, memory: { initial: number; maximum: number }, builtins: Builtins): Instance;
}
interface Instance {
  readonly entrypoints: Readonly<Record<string, number>>;
  readonly mem: { readonly buffer: ArrayBuffer };
  readonly wasmInstance: { readonly exports: Readonly<Record<string, (...args: number[]) => number>> };
  setData(data: object): void;
  evaluate(input: object, entrypoint: number): unknown;
}

/** Node has it, and its types do not. */
const { WebAssembly } = globalThis as unknown as {
  readonly WebAssembly: {
    readonly Module: {
      new (bytes: Uint8Array): object;
      exports(module: object): readonly { readonly name: string }[];
    };
  };
};

/** @throws {ConfigError} where it is not installed. */
export function opaWasmPackage(): OpaWasmPackage {
  return loadOptional("@open-policy-agent/opa-wasm", {
    neededBy: "grpc-palisade/opa",
    install: "@open-policy-agent/opa-wasm",
  }) as OpaWasmPackage;
}

const pageBytes = 65_536;
const initialPages = 5;

/** By which a module that OPA compiled is known. */
const neededExports = ["opa_wasm_abi_version", "opa_eval", "opa_json_parse", "builtins", "entrypoints"];

/**
 * opa-wasm runs these in JavaScript, where a caller's text can hold up the process: by a regular expression that goes back and forth, or
 * by YAML with many keys, which takes quadratic time. OPA's other functions for texts are linear, and part of the compiled policy.
 */
const unsafeBuiltins: ReadonlySet<string> = new Set(["regex.split", "yaml.is_valid", "yaml.unmarshal"]);
/** What opa-wasm has beside them. */
const givenBuiltins: ReadonlySet<string> = new Set(["json.is_valid", "sprintf", "yaml.marshal"]);

export interface WasmPolicyOptions {
  readonly library: OpaWasmPackage;
  readonly wasm: Uint8Array;
  readonly data: object;
  /** Undefined: the only one there is. */
  readonly entrypoint: string | undefined;
  readonly maxMemoryBytes: number;
  readonly builtins: Builtins;
}

export class WasmPolicy {
  /** The rule that is asked for. */
  readonly path: string;
  readonly #options: WasmPolicyOptions;
  readonly #module: object;
  readonly #entrypoint: number;
  #instance: Instance | undefined;

  /** Throws `FileProblem`. */
  constructor(options: WasmPolicyOptions) {
    this.#options = options;
    this.#module = moduleOf(options.wasm);
    const instance = this.#instantiate();
    this.#instance = instance;
    const lacking = neededBuiltins(instance).flatMap((name) => problemOf(name, options.builtins));
    if (lacking.length > 0) throw new FileProblem(`cannot be used: ${lacking.join("; ")}`);
    [this.path, this.#entrypoint] = entrypointOf(instance, options.entrypoint);
  }

  /** The result; undefined where the rule is. Throws `OpaFailure`. */
  evaluate(input: OpaInput): unknown {
    let results: unknown;
    try {
      this.#instance ??= this.#instantiate();
      results = this.#instance.evaluate(input, this.#entrypoint);
    } catch (cause) {
      // What it left in its memory is not known.
      this.#instance = undefined;
      throw new OpaFailure("the policy could not be evaluated", { cause: asError(cause) });
    }
    if (!Array.isArray(results) || results.length > 1)
      throw new OpaFailure("the policy's result set is malformed");
    const [first]: readonly unknown[] = results;
    return typeof first === "object" && first !== null ? Reflect.get(first, "result") : undefined;
  }

  #instantiate(): Instance {
    const { library, data, maxMemoryBytes, builtins } = this.#options;
    const maximum = Math.floor(maxMemoryBytes / pageBytes);
    try {
      const instance = library.loadPolicySync(this.#module, { initial: initialPages, maximum }, builtins);
      instance.setData(data);
      return instance;
    } catch (cause) {
      throw new FileProblem(
        `cannot be loaded (${asError(cause).message}); its data must fit into maxMemoryBytes`,
        { cause },
      );
    }
  }
}

function moduleOf(wasm: Uint8Array): object {
  let module: object;
  try {
    module = new WebAssembly.Module(wasm);
  } catch (cause) {
    throw new FileProblem("is no valid WebAssembly module; it may be cut off", { cause });
  }
  const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  if (!neededExports.every((name) => exported.has(name)))
    throw new FileProblem(
      "is a WebAssembly module that OPA did not compile, or an old OPA; make one with opa build -t wasm",
    );
  return module;
}

/** The names of the built-ins that the module calls and does not contain. */
function neededBuiltins({ mem, wasmInstance: { exports } }: Instance): readonly string[] {
  const address = exports["opa_json_dump"]?.(exports["builtins"]?.() ?? 0) ?? 0;
  const memory = new Uint8Array(mem.buffer, address);
  const needed: unknown = JSON.parse(new TextDecoder().decode(memory.subarray(0, memory.indexOf(0))));
  return typeof needed === "object" && needed !== null ? Object.keys(needed) : [];
}

function problemOf(name: string, builtins: Builtins): readonly string[] {
  if (unsafeBuiltins.has(name))
    return [
      `it uses ${name}, which opa-wasm runs in a way that hostile text can hold up; do without it, or ask a server`,
    ];
  if (givenBuiltins.has(name) || Object.hasOwn(builtins, name)) return [];
  return [`it needs the built-in ${name}, which opa-wasm does not have; give a function for it in builtins`];
}

function entrypointOf(
  { entrypoints }: Instance,
  asked: string | undefined,
): readonly [path: string, id: number] {
  const names = Object.keys(entrypoints);
  const name = asked ?? (names.length === 1 ? names[0] : undefined);
  const listed = names.join(", ");
  if (name === undefined)
    throw new FileProblem(`has several entrypoints (${listed}); name one in entrypoint`);
  const id = Object.hasOwn(entrypoints, name) ? entrypoints[name] : undefined;
  if (id === undefined)
    throw new FileProblem(`has no entrypoint ${name}${didYouMean(name, names)} (it has ${listed})`);
  return [name, id];
}

/** The package throws texts, and objects with a message. */
function asError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  const message: unknown =
    typeof thrown === "object" && thrown !== null ? Reflect.get(thrown, "message") : thrown;
  return new Error(typeof message === "string" ? message : "it failed");
}
