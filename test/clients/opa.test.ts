// A real OPA server, and policies that the real `opa build` compiled: both say the same of calls (Z5).
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PolicyError } from "../../src/grpc/errors.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import type { Authorizer } from "../../src/index.ts";
import { opa, opaWasm } from "../../src/opa/index.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";
import { allowed, denied, policyMetadata, policyRows } from "../opa/policy-rows.ts";
import { buildBundle, opaProgram, type RunningOpa, startOpaServer } from "./opa.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

/** The one that the tests without Go use. */
const kept = join(import.meta.dirname, "../opa/bundle.tar.gz");

describe.skipIf(lacks("go"))("Open Policy Agent", () => {
  let folder: string;
  let program: string;
  let server: RunningOpa;
  let built: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "palisade-real-opa-"));
    program = await opaProgram();
    built = join(folder, "bundle.tar.gz");
    await buildBundle(program, built);
    server = await startOpaServer(program);
  }, installTimeoutMs);
  afterAll(() => {
    server[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const ways: readonly (readonly [name: string, authorizer: (rule: string) => Authorizer])[] = [
    [
      "its server",
      (rule) =>
        opa({ url: server.url, path: `test/authz/${rule}`, metadata: ["x-region"], timeoutMs: waitMs }),
    ],
    [
      "a bundle that it built now",
      (rule) => opaWasm({ file: built, entrypoint: `test/authz/${rule}`, metadata: ["x-region"] }),
    ],
    [
      "the bundle that is kept here",
      (rule) => opaWasm({ file: kept, entrypoint: `test/authz/${rule}`, metadata: ["x-region"] }),
    ],
  ];

  it.each(ways.flatMap(([way, authorizer]) => policyRows.map((row) => ({ way, authorizer, ...row }))))(
    "Z5 $way, asked for $rule, says of a caller with the role $role: $expected",
    async ({ authorizer, rule, role, expected }) => {
      await using own = await secured({
        authorization: authorizer(rule),
        deadline: { checkTimeoutMs: waitMs },
      });
      const client = own.client();
      const authorized = await own.authorized({ roles: [role] });
      const { name, details } = await invoke(client, "unary", {
        metadata: { ...authorized, ...policyMetadata },
      });
      expect(`${name} ${details}`).toBe(expected);
      expect(own.started).toEqual(expected === allowed ? ["unary"] : []);
      client.close();
    },
  );

  it.each(kinds)("Z5 its server decides about a %s call and its messages", async (kind) => {
    await using own = await secured({
      authorization: opa({ url: server.url, path: "test/authz/messages", messages: true, timeoutMs: waitMs }),
      deadline: { checkTimeoutMs: waitMs },
    });
    const client = own.client();
    const metadata = await own.authorized();
    expect((await invoke(client, kind, { metadata })).details).toBe("OK");
    const secret = await invoke(client, kind, { metadata, messages: [{ text: "secret" }] });
    expect(`${secret.name} ${secret.details}`).toBe(denied);
    expect(own.started).toEqual([kind]);
    client.close();
  });

  it("Z5 the id of its decision is in log and audit", async () => {
    await using own = await secured({
      authorization: opa({ url: server.url, path: "test/authz/decision", timeoutMs: waitMs }),
      deadline: { checkTimeoutMs: waitMs },
    });
    const client = own.client();
    await invoke(client, "unary", { metadata: await own.authorized({ roles: ["other"] }) });
    client.close();
    const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;
    const { decisionId } = await own.auditEntry(() => true);
    expect(decisionId).toMatch(uuid);
    expect(await own.callLine(() => true)).toMatchObject({
      decision_id: decisionId,
      rule: "callers",
      reason: "needs role caller",
    });
  });

  it("Z5 its server is asked by a Unix socket, with the token that it wants", async () => {
    const socket = join(folder, "opa.sock");
    const restricted = await startOpaServer(program, { socket, token: "t-1" });
    try {
      const answers = async (token: string | undefined): Promise<string> => {
        await using own = await secured({
          authorization: opa({
            url: restricted.url,
            path: "test/authz/allow",
            timeoutMs: waitMs,
            ...(token === undefined ? {} : { token }),
          }),
          deadline: { checkTimeoutMs: waitMs },
        });
        const client = own.client();
        const { details } = await invoke(client, "unary", { metadata: await own.authorized() });
        client.close();
        return details;
      };
      expect(await answers("t-1")).toBe("OK");
      expect(await answers("t-2")).toBe("temporarily unavailable");
      expect(await answers(undefined)).toBe("temporarily unavailable");
    } finally {
      restricted[Symbol.dispose]();
    }
  });

  it("Z5 a built-in that opa-wasm lacks is named at the start, and may be given", async () => {
    const file = join(folder, "now.tar.gz");
    await buildBundle(program, file, ["test/authz/now"]);
    const methods = [methodInfo("/a.B/C", "unary", true)];
    expect(() => opaWasm({ file }).compile(methods)).toThrow(PolicyError);
    expect(() => opaWasm({ file }).compile(methods)).toThrow(/needs the built-in time\.now_ns/);
    const builtins = { "time.now_ns": () => Date.now() * 1e6 };
    await using own = await secured({ authorization: opaWasm({ file, builtins }) });
    const client = own.client();
    expect((await invoke(client, "unary", { metadata: await own.authorized() })).details).toBe("OK");
    client.close();
  });

  it.each(["split", "parsed"])("Z5 a built-in that hostile text holds up is refused: %s", async (rule) => {
    const file = join(folder, `${rule}.tar.gz`);
    await buildBundle(program, file, [`test/authz/${rule}`]);
    expect(() => opaWasm({ file }).compile([methodInfo("/a.B/C", "unary", true)])).toThrow(
      /it uses (?:regex\.split|yaml\.unmarshal), which opa-wasm runs in a way that hostile text can hold up/,
    );
  });
});
