// A policy that OPA compiled, from `policies/` into `bundle.tar.gz` (`npm run test:clients` holds the two together), decides about calls (Z5).
import { copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FileWatch } from "../../src/config/file-watch.ts";
import { PolicyError } from "../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo } from "../../src/grpc/method.ts";
import { type OpaWasmOptions, opaWasm } from "../../src/opa/index.ts";
import { readPolicyFile } from "../../src/opa/policy-file.ts";
import { invoke, kinds, type Note } from "../harness/kinds.ts";
import { eventually, type Secured, secured } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";
import { allowed, denied, policyMetadata, policyRows, unavailable } from "./policy-rows.ts";

const bundle = join(import.meta.dirname, "bundle.tar.gz");
const folder = mkdtempSync(join(tmpdir(), "palisade-opa-wasm-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A server whose calls the rule of the bundle decides about. */
function deciding(rule: string, options: Partial<OpaWasmOptions> = {}): Promise<Secured> {
  return secured({
    authorization: opaWasm({ file: bundle, entrypoint: `test/authz/${rule}`, ...options }),
    deadline: { checkTimeoutMs: waitMs },
  });
}

interface CallOptions {
  readonly kind?: (typeof kinds)[number];
  readonly roles?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly messages?: readonly Note[];
}

async function call(own: Secured, { kind = "unary", roles, metadata, messages }: CallOptions = {}) {
  const client = own.client();
  const authorized = await own.authorized(roles === undefined ? {} : { roles });
  const { name, details } = await invoke(client, kind, {
    metadata: { ...authorized, ...metadata },
    ...(messages === undefined ? {} : { messages }),
  });
  client.close();
  return `${name} ${details}`;
}

const methods: readonly MethodInfo[] = [methodInfo("/a.B/C", "unary", true)];

describe("a compiled policy", () => {
  it.each(policyRows)(
    "Z5 with the rule $rule says of a caller with the role $role: $expected",
    async ({ rule, role, expected }) => {
      await using own = await deciding(rule, { metadata: ["x-region"] });
      expect(await call(own, { metadata: policyMetadata, roles: [role] })).toBe(expected);
      expect(own.started).toEqual(expected === allowed ? ["unary"] : []);
    },
  );

  it.each(kinds)("Z5 lets a %s call in, or not", async (kind) => {
    await using own = await deciding("decision");
    expect(await call(own, { kind, roles: ["other"] })).toBe(denied);
    expect(own.started).toEqual([]);
    expect(await call(own, { kind })).toBe(allowed);
    expect(own.started).toEqual([kind]);
    expect(await own.auditEntry(({ decision }) => decision === "deny")).toMatchObject({
      rule: "callers",
      reason: "needs role caller",
    });
    expect(await own.auditEntry(({ decision }) => decision === "allow")).toMatchObject({ rule: "callers" });
  });

  it.each(kinds)("Z5 sees each message of a %s call, where it is asked to", async (kind) => {
    await using own = await deciding("messages", { messages: true });
    expect(await call(own, { kind, messages: [{ text: "one" }] })).toBe(allowed);
    expect(await call(own, { kind, messages: [{ text: "secret" }] })).toBe(denied);
    expect(own.started).toEqual([kind]);
  });

  it("Z5 sees the data that it is given, in place of the bundle's", async () => {
    await using own = await deciding("from_data", { data: { open: true } });
    expect(await call(own)).toBe(allowed);
    await using closed = await deciding("from_data", { data: { open: "true" } });
    expect(await call(closed)).toBe(denied);
  });

  it("Z5 may be the module alone", async () => {
    const file = join(folder, "policy.wasm");
    writeFileSync(file, readPolicyFile(bundle).wasm);
    await using own = await deciding("from_data", { file, data: { open: true } });
    expect(await call(own)).toBe(allowed);
  });

  it("Z5 that needs more memory than it may have ends its call UNAVAILABLE, and no other", async () => {
    await using own = await deciding("hungry", { metadata: ["x-size"], maxMemoryBytes: 2 * 1024 * 1024 });
    const sized = (size: number) => call(own, { metadata: { "x-size": String(size) } });
    expect(await sized(10)).toBe(allowed);
    expect(await sized(100_000)).toBe(unavailable);
    expect(await sized(10)).toBe(allowed);
    expect(own.started).toHaveLength(2);
  });

  it("Z5 leaves nothing of one call to the next", async () => {
    await using own = await deciding("allow");
    for (let i = 0; i < 5; i += 1) {
      expect(await call(own)).toBe(allowed);
      expect(await call(own, { roles: ["other"] })).toBe(denied);
    }
  });

  it.each<[string, Partial<OpaWasmOptions>, RegExp]>([
    [
      "that is not said which rule to ask",
      {},
      /has several entrypoints \(.*test\/authz\/allow.*\); name one/,
    ],
    [
      "without the rule that it is asked for",
      { entrypoint: "test/authz/alow" },
      /has no entrypoint test\/authz\/alow; did you mean "test\/authz\/allow"\?/,
    ],
    [
      "whose data does not fit into its memory",
      { entrypoint: "test/authz/allow", data: { much: "x".repeat(2_000_000) }, maxMemoryBytes: 1_048_576 },
      /its data must fit into maxMemoryBytes/,
    ],
  ])("Z5 %s keeps the server from starting", (_name, options, problem) => {
    const compile = () => opaWasm({ file: bundle, ...options }).compile(methods);
    expect(compile).toThrow(PolicyError);
    expect(compile).toThrow(problem);
  });
});

describe("a compiled policy that changes", () => {
  it("Z5 is used within moments; what cannot be used leaves the last good one in force", async () => {
    const file = join(folder, "watched.tar.gz");
    copyFileSync(bundle, file);
    const authorizer = opaWasm({ file, entrypoint: "test/authz/allow" });
    await using own = await secured({ authorization: authorizer });
    const problems: unknown[] = [];
    let looked = 0;
    // What a server does with it.
    const stop = authorizer.onChange?.(() => {
      looked += 1;
      try {
        own.server.setAuthorization(authorizer);
      } catch (error) {
        problems.push(error);
      }
    });
    const replace = (content: Buffer): void => {
      writeFileSync(`${file}.next`, content);
      renameSync(`${file}.next`, file);
    };
    expect(await call(own)).toBe(allowed);
    replace(Buffer.from("half a file"));
    await eventually(() => problems.length > 0, "a look at the file");
    expect(problems).toEqual([expect.any(PolicyError)]);
    expect(await call(own)).toBe(allowed);
    const before = looked;
    // The module alone is another file with the same rules.
    replace(readPolicyFile(bundle).wasm);
    await eventually(() => looked > before, "the next look");
    expect(problems).toHaveLength(1);
    expect(await call(own)).toBe(allowed);
    stop?.();
  });

  it("Z5 is not told of where it is the same, and a listener that throws ends nothing", async () => {
    const file = join(folder, "same.tar.gz");
    copyFileSync(bundle, file);
    const authorizer = opaWasm({ file, entrypoint: "test/authz/allow" });
    authorizer.compile(methods);
    let told = 0;
    const stop = authorizer.onChange?.(() => {
      told += 1;
      throw new Error("of the listener");
    });
    // Another watch says when there was something to see.
    let looks = 0;
    const watch = new FileWatch({ paths: [file], onChange: () => (looks += 1) });
    await eventually(() => looks > 0, "a first look");
    const before = looks;
    copyFileSync(bundle, `${file}.next`);
    renameSync(`${file}.next`, file);
    await eventually(() => looks > before, "a look at the same file");
    watch.stop();
    expect(told).toBe(0);
    writeFileSync(`${file}.next`, readPolicyFile(bundle).wasm);
    renameSync(`${file}.next`, file);
    await eventually(() => told > 0, "a look at the file");
    expect(told).toBe(1);
    stop?.();
  });
});
