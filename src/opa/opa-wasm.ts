// opaWasm: a policy that OPA compiled to WebAssembly decides, in this process.
import { z } from "zod";
import { FileProblem } from "../config/bounded-file.ts";
import { watchContent } from "../config/content-watch.ts";
import { parseOptions } from "../config/options.ts";
import { PolicyError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { Authorizer, Policy } from "../middleware/authorization/authorizer.ts";
import { decisionOf } from "./opa-decision.ts";
import {
  type OpaPolicyOptions,
  type OpaPolicySettings,
  opaPolicy,
  opaPolicyShape,
  publicProblems,
} from "./opa-policy.ts";
import { digestOfFile, readPolicyFile } from "./policy-file.ts";
import { type Builtins, opaWasmPackage, WasmPolicy } from "./wasm-policy.ts";

export interface OpaWasmOptions extends OpaPolicyOptions {
  /**
   * The compiled policy: `policy.wasm`, or the `bundle.tar.gz` of `opa build -t wasm`. A relative path starts at the working
   * directory. Signatures of bundles are not verified: whoever can write the file decides.
   */
  readonly file: string;
  /** Which rule is asked for, as `opa build -e` has it: `orders/authz/allow`. Left out, it is the only one in the file. Default: none. */
  readonly entrypoint?: string | undefined;
  /** What the policy sees as `data`, in place of the bundle's own. Left out, it sees that. Default: none. */
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  /**
   * Functions for built-ins that OPA does not compile and opa-wasm does not have, by name: `{ "time.now_ns": () => Date.now() * 1e6 }`.
   * They answer at once, and a policy that needs one that is not there keeps the server from starting. Default: none.
   */
  readonly builtins?: Builtins | undefined;
  /** The most memory that the policy may use, its data included, in bytes. A call that needs more ends UNAVAILABLE. Default: 67,108,864. */
  readonly maxMemoryBytes?: number | undefined;
}

interface OpaWasmSettings extends OpaPolicySettings {
  readonly file: string;
  readonly entrypoint?: string | undefined;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  readonly builtins: Builtins;
  readonly maxMemoryBytes: number;
}

/** The shape of `opaWasm`'s options; the only place where their defaults stand. */
export const opaWasmSchema: z.ZodType<OpaWasmSettings> = z.strictObject({
  file: z.string().min(1),
  entrypoint: z.string().min(1).optional(),
  data: z.record(z.string(), z.unknown()).optional(),
  builtins: z
    .custom<Builtins>(
      (value) =>
        typeof value === "object" &&
        value !== null &&
        Object.values(value).every((each) => typeof each === "function"),
      { error: "expected an object of functions" },
    )
    .default({}),
  maxMemoryBytes: z.int().min(1_048_576).max(4_294_967_296).default(67_108_864),
  ...opaPolicyShape,
});

/**
 * A policy that OPA compiled (`opa build -t wasm -e orders/authz/allow policy.rego`) decides about every call that is not `public`,
 * in this process and at once, with `OpaInput` as `input`. The result must be `true` or `false`, or `{ allow, rule?, reason? }`
 * with `allow` `true` or `false`. Everything else denies.
 *
 * The file is read when the server starts, and again when it changes: what cannot be used keeps the server from starting, and later
 * the last good policy stays. Replace the file by renaming. An evaluation runs to its end, and nothing else runs meanwhile:
 * its time is bounded by `maxInputBytes` and by what the policy does with the input, its memory by `maxMemoryBytes`. One that
 * fails ends its call UNAVAILABLE.
 *
 * @throws {ConfigError} where an option is wrong or @open-policy-agent/opa-wasm is not installed; `listen()` throws `PolicyError`
 * where the file cannot be used.
 * @example
 * createSecureServer({ authorization: opaWasm({ file: "bundle.tar.gz" }), … });
 */
export function opaWasm(options: OpaWasmOptions): Authorizer {
  return new OpaWasm(parseOptions(opaWasmSchema, options, "opaWasm"));
}

class OpaWasm implements Authorizer {
  readonly name = "opa-wasm";
  readonly #settings: OpaWasmSettings;
  readonly #library = opaWasmPackage();
  /** Of the file that was compiled last. */
  #digest: string | undefined = undefined;

  constructor(settings: OpaWasmSettings) {
    this.#settings = settings;
  }

  compile(methods: readonly MethodInfo[]): Policy {
    const loaded = this.#load();
    const problems = [
      ...(typeof loaded === "string" ? [loaded] : []),
      ...publicProblems(this.#settings, methods),
    ];
    if (typeof loaded === "string" || problems.length > 0) throw new PolicyError(problems);
    return opaPolicy(methods, {
      settings: this.#settings,
      path: loaded.path,
      hasRequestId: true,
      ask: ({ document }) => decisionOf({ result: loaded.evaluate(document) }, loaded.path),
    });
  }

  /** The policy, or what is wrong with it. */
  #load(): WasmPolicy | string {
    const { file, data, entrypoint, maxMemoryBytes, builtins } = this.#settings;
    try {
      const read = readPolicyFile(file);
      this.#digest = read.digest;
      return new WasmPolicy({
        library: this.#library,
        wasm: read.wasm,
        data: data ?? read.data ?? {},
        entrypoint,
        maxMemoryBytes,
        builtins,
      });
    } catch (error) {
      if (error instanceof FileProblem) return `opaWasm.file: ${file} ${error.message}`;
      throw error;
    }
  }

  onChange(listener: () => void): () => void {
    const { file } = this.#settings;
    return watchContent({ path: file, content: () => digestOfFile(file), seen: this.#digest }, listener);
  }
}
