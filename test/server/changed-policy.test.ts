// A policy that changes by itself: a file that is written anew, and whatever else an authorizer tells of (Z10).
import { type EventEmitter, EventEmitter as Events } from "node:events";
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cel } from "../../src/cel/cel.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import type { Authorizer } from "../../src/middleware/authorization/authorizer.ts";
import { rbacFile } from "../../src/middleware/authorization/rbac-file.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { goodHandlers, invoke, kinds, kindsDefinition } from "../harness/kinds.ts";
import { eventually, keptLog, type LogLine, type Secured, secured, theWorld } from "../harness/secured.ts";
import { openCall, told, waitingHandlers } from "../harness/waiting.ts";

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "palisade-policy-"));
  path = join(directory, "policy.json");
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

const policyFor = (role: string, permissions: readonly string[] = []): string =>
  JSON.stringify({
    roles: { caller: {}, other: {}, [role]: { permissions } },
    rules: { "/test.v1.Kinds/*": { roles: [role] } },
  });

/** A rule that every caller meets but for the condition. */
const policyWhen = (when: unknown): string =>
  JSON.stringify({ rules: { "/test.v1.Kinds/*": { schemes: ["jwt"], when } } });

/** Written beside it and renamed over it, as who changes a file carefully does. */
function replaceFile(text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

const isTaken = (line: LogLine): boolean =>
  line.msg === "the authorization policy changed; the new one is in force";
const isRefused = (line: LogLine): boolean =>
  line.msg?.startsWith("the changed authorization policy") === true;

const said = (lines: readonly LogLine[], match: (line: LogLine) => boolean, times = 1): Promise<unknown> =>
  eventually(() => lines.filter(match).length >= times, "a line about the policy");

async function tell(wall: Secured): Promise<readonly string[]> {
  const metadata = await wall.authorized();
  const client = wall.client();
  return Promise.all(kinds.map(async (kind) => (await invoke(client, kind, { metadata })).name));
}

const all = (name: string): readonly string[] => kinds.map(() => name);

describe("Z10 a policy file that changes", () => {
  it.each<[string, (text: string) => void]>([
    ["is renamed over", replaceFile],
    ["is written in place", (text) => writeFileSync(path, text)],
    [
      "is a symbolic link that is swapped, as Kubernetes does",
      (text) => {
        writeFileSync(join(directory, "next.json"), text);
        symlinkSync(join(directory, "next.json"), `${path}.link`);
        renameSync(`${path}.link`, path);
      },
    ],
  ])("decides anew, for all four kinds, where it %s", async (_how, change) => {
    writeFileSync(path, policyFor("caller"));
    await using wall = await secured({ authorization: rbacFile({ path }) });
    expect(await tell(wall)).toEqual(all("OK"));
    change(policyFor("other"));
    await said(wall.lines, isTaken);
    expect(await tell(wall)).toEqual(all("PERMISSION_DENIED"));
    const rows = wall.server.accessMatrix().methods.filter(({ method }) => method.startsWith("/test.v1."));
    expect(rows.map(({ roles }) => roles)).toEqual(kinds.map(() => ["other"]));
  });

  it.each<[string, string, RegExp]>([
    ["is no JSON", '{"roles":', /policy\.json: not JSON/],
    ["does not fit the methods", policyFor("caller").replace("Kinds", "Kind"), /no method of such a service/],
    [
      "names a role that is not there",
      policyFor("caller").replace('["caller"]', '["nobody"]'),
      /no such role nobody/,
    ],
    ["is empty", "", /not JSON/],
    [
      "has a condition that is no expression",
      policyWhen("request.text = 'a'"),
      /policy\.json: rules\.\/test\.v1\.Kinds\/\*\.when: cel: .* is no expression/,
    ],
    [
      "has a condition that does not fit the methods",
      policyWhen("request.text == 'a'"),
      /policy\.json: \/test\.v1\.Kinds\/\*: when: .*give the option descriptorSet/,
    ],
    [
      "has a condition that is no text",
      policyWhen(true),
      /policy\.json: rules\.\/test\.v1\.Kinds\/\*\.when: expected an expression as text/,
    ],
  ])("and %s: the last good policy stays in force, and it is said once", async (_what, text, problem) => {
    writeFileSync(path, policyFor("caller"));
    await using wall = await secured({ authorization: rbacFile({ path, condition: cel }) });
    replaceFile(text);
    await said(wall.lines, isRefused);
    expect(String(wall.lines.find(isRefused)?.["problem"])).toMatch(problem);
    expect(await tell(wall)).toEqual(all("OK"));
    replaceFile(policyFor("other"));
    await said(wall.lines, isTaken);
    expect(await tell(wall)).toEqual(all("PERMISSION_DENIED"));
    expect(wall.lines.filter(isRefused)).toHaveLength(1);
  });

  it("and disappears: the last good policy stays in force", async () => {
    writeFileSync(path, policyFor("caller"));
    await using wall = await secured({ authorization: rbacFile({ path }) });
    rmSync(path);
    await said(wall.lines, isRefused);
    expect(await tell(wall)).toEqual(all("OK"));
    writeFileSync(path, policyFor("other"));
    await said(wall.lines, isTaken);
    expect(await tell(wall)).toEqual(all("PERMISSION_DENIED"));
  });

  it("refuses the next message of a stream that is open, where the caller's right is gone", async () => {
    const events: EventEmitter = new Events();
    writeFileSync(path, policyFor("caller"));
    await using wall = await secured({
      authorization: rbacFile({ path }),
      handlers: waitingHandlers(events),
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    for (const kind of ["client_stream", "bidi_stream"] as const) {
      const before = wall.lines.filter(isTaken).length;
      const call = await openCall(events, client, kind, metadata);
      replaceFile(policyFor("other"));
      await said(wall.lines, isTaken, before + 1);
      if ("write" in call.client) call.client.write({ text: "more" });
      expect(told(await call.ended)).toBe("PERMISSION_DENIED permission denied");
      replaceFile(policyFor("caller"));
      await said(wall.lines, isTaken, before + 2);
    }
  });

  it("keeps a server from starting where it cannot be used at the start", async () => {
    writeFileSync(path, "{}");
    await expect(secured({ authorization: rbacFile({ path }) })).rejects.toThrow(
      /policy\.json: rules: expected an object/,
    );
  });

  it("is not followed any more once another authorizer is in its place, or the server is shut down", async () => {
    const watched = new Set<string>();
    const changing = (name: string): Authorizer => ({
      name,
      compile: () => ({
        forMethod: () => ({ access: "checked", decide: () => ({ effect: "allow", rule: name }) }),
      }),
      onChange() {
        watched.add(name);
        return () => watched.delete(name);
      },
    });
    const wall = await secured({ authorization: changing("first") });
    expect([...watched]).toEqual(["first"]);
    wall.server.setAuthorization(changing("second"));
    expect([...watched]).toEqual(["second"]);
    await wall.close();
    expect([...watched]).toEqual([]);
  });

  it("of which an authorizer tells in the middle of something else decides anew, and one that throws affects nothing", async () => {
    let change: () => void = () => {};
    let answer: "allow" | "deny" | "throws" = "allow";
    const authorizer: Authorizer = {
      name: "own",
      compile() {
        const effect = answer;
        if (effect === "throws") throw new Error("the table of rules is away");
        return { forMethod: () => ({ access: "checked", decide: () => ({ effect, rule: "own" }) }) };
      },
      onChange(listener) {
        change = listener;
        return () => {
          throw new Error("cannot stop");
        };
      },
    };
    await using wall = await secured({ authorization: authorizer });
    answer = "deny";
    change();
    expect(await tell(wall)).toEqual(all("PERMISSION_DENIED"));
    answer = "throws";
    change();
    await said(wall.lines, isRefused);
    expect(wall.lines.find(isRefused)?.["problem"]).toBe("the table of rules is away");
    expect(await tell(wall)).toEqual(all("PERMISSION_DENIED"));
    const stale = change;
    wall.server.setAuthorization({ ...authorizer, compile: () => ({ forMethod: () => undefined }) });
    answer = "allow";
    stale();
    expect(await tell(wall)).toEqual(all("PERMISSION_DENIED"));
  });

  it("C6 decides anew on a server that other code made too", async () => {
    const world = await theWorld();
    const { logger, lines } = keptLog();
    writeFileSync(path, policyFor("caller"));
    const interceptors = secureInterceptors({
      services: [kindsDefinition],
      authentication: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
      authorization: rbacFile({ path }),
      logger,
    });
    const server = new Server({ interceptors });
    server.addService(kindsDefinition, goodHandlers());
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const metadata = { authorization: `Bearer ${await world.token()}` };
    const names = () =>
      Promise.all(kinds.map(async (kind) => (await invoke(client, kind, { metadata })).name));
    expect(await names()).toEqual(all("OK"));
    replaceFile(policyFor("other"));
    await said(lines, isTaken);
    expect(await names()).toEqual(all("PERMISSION_DENIED"));
    client.close();
    server.forceShutdown();
    await interceptors.close();
  });
});
