// A policy put on a service that is in use: decided and recorded without refusing (Z10), and replaced under load.
import { afterAll, describe, expect, it } from "vitest";
import { ConfigError, PolicyError } from "../../src/grpc/errors.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import type { Authorizer, Decision } from "../../src/middleware/authorization/authorizer.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { list } from "../harness/health.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { callerPolicy, eventually, secured } from "../harness/secured.ts";

const otherPolicy = rbac({
  roles: { caller: {}, other: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["other"] } },
});

/** Decides on each message: those that say "no" are denied. */
const byMessage: Authorizer = {
  name: "by-message",
  compile: () => ({
    forMethod: () => ({
      access: "checked",
      decide: () => ({ effect: "allow", rule: "by-message" }),
      decideMessage: async (_call, message): Promise<Decision> => ({
        effect: JSON.stringify(message).includes("no") ? "deny" : "allow",
        rule: "by-message",
      }),
    }),
  }),
};

const broken: Authorizer = {
  name: "broken",
  compile: () => ({
    forMethod: () => ({
      access: "checked",
      decide: () => {
        throw new Error("the policy's database is away");
      },
    }),
  }),
};

describe.each(kinds)("Z10 a dry run, %s calls", (kind) => {
  it("Z10 a denial is logged and audited, and the call goes on", async () => {
    await using wall = await secured({ authorization: otherPolicy, enforce: { authorization: false } });
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(told).toMatchObject({ name: "OK" });
    expect(wall.started).toEqual([kind]);
    expect(await wall.callLine(() => true)).toMatchObject({
      grpc_code: "OK",
      principal: "ada",
      dry_run_refusal: "authorization: permission denied",
      rule: "/test.v1.Kinds/*",
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      status: "OK",
      decision: "deny",
      dryRun: true,
      rule: "/test.v1.Kinds/*",
    });
  });

  it("Z10 what the policy allows is not recorded as a refusal, and callers are authenticated all the same", async () => {
    await using wall = await secured({ enforce: { authorization: false } });
    expect(await invoke(wall.client(), kind, { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
    const entry = await wall.auditEntry(({ status }) => status === "OK");
    expect(entry).toMatchObject({ decision: "allow" });
    expect(entry).not.toHaveProperty("dryRun");
    expect(await invoke(wall.client(), kind, {})).toMatchObject({ name: "UNAUTHENTICATED" });
  });

  it("Z10 a decision on messages is recorded too, and its first denial stays on record", async () => {
    await using wall = await secured({ authorization: byMessage, enforce: { authorization: false } });
    const messages = [{ text: "no" }, { text: "yes" }];
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized(), messages });
    expect(told).toMatchObject({ name: "OK" });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      decision: "deny",
      dryRun: true,
      rule: "by-message",
    });
  });

  it("Z10 a policy that fails refuses nothing either, and says so", async () => {
    await using wall = await secured({ authorization: broken, enforce: { authorization: false } });
    expect(await invoke(wall.client(), kind, { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      decision: "deny",
      dryRun: true,
      rule: "policy failed",
    });
  });

  it("Z10 limits that are not enforced count and record", async () => {
    await using wall = await secured({
      rateLimit: { perPeer: { points: 1, durationSec: 600 } },
      enforce: { rateLimit: false },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    for (let i = 0; i < 2; i++)
      expect(await invoke(client, kind, { metadata })).toMatchObject({ name: "OK" });
    expect(await wall.auditEntry(({ dryRun }) => dryRun === true)).toMatchObject({
      decision: "deny",
      rule: "peer-rate-limit",
      reason: "rate limit exceeded",
      status: "OK",
    });
    expect(await wall.callLine((line) => line["dry_run_refusal"] !== undefined)).toMatchObject({
      dry_run_refusal: "peer-rate-limit: rate limit exceeded",
    });
  });
});

describe("Z10 what a dry run leaves alone", () => {
  it("Z10 the health service's own rule is enforced", async () => {
    await using wall = await secured({ enforce: { authorization: false } });
    const told = await invoke(wall.client(), "unary", { path: "/grpc.health.v1.Health/List", metadata: {} });
    expect(told).toMatchObject({ name: "UNAUTHENTICATED" });
    await using open = await secured({ enforce: { authorization: false }, authentication: anonymous() });
    expect((await list(open.client())).name).toBe("PERMISSION_DENIED");
    expect(await invoke(open.client(), "unary")).toMatchObject({ name: "OK" });
  });

  it("Z10 listen() warns of what is not enforced, and of nothing where all is", async () => {
    await using wall = await secured({ enforce: { authorization: false, rateLimit: false } });
    const warnings = wall.lines.filter(({ level }) => level === 40).map(({ msg }) => msg);
    expect(warnings).toEqual([
      expect.stringContaining("enforce.authorization is false"),
      expect.stringContaining("enforce.rateLimit is false"),
    ]);
    await using strict = await secured();
    expect(strict.lines.filter(({ level }) => level === 40)).toEqual([]);
  });
});

describe("Z10 another policy", () => {
  it("Z10 one that does not fit leaves the old one in force", async () => {
    await using wall = await secured();
    const client = wall.client();
    const wrong = rbac({ roles: {}, rules: { "/test.v1.Kinds/Nothing": "public" } });
    expect(() => wall.server.setAuthorization(wrong)).toThrow(PolicyError);
    expect(() => wall.server.setAuthorization({ name: "none" } as unknown as Authorizer)).toThrow(
      ConfigError,
    );
    expect(await invoke(client, "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
    wall.server.setAuthorization(otherPolicy);
    expect(await invoke(client, "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "PERMISSION_DENIED",
    });
    expect(
      await invoke(client, "unary", { path: "/grpc.health.v1.Health/List", metadata: {} }),
    ).toMatchObject({
      name: "UNAUTHENTICATED",
    });
  });

  it("Z10 given before listen(), it is the one that is checked and used", async () => {
    await using wall = await secured({ register: (server) => server.setAuthorization(otherPolicy) });
    expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "PERMISSION_DENIED",
    });
  });

  const loads: Promise<unknown>[] = [];
  afterAll(() => Promise.all(loads));

  it("Z10 replaced under load of all kinds, no call is decided wrongly", async () => {
    await using wall = await secured({ rateLimit: { perPeer: false, perPrincipal: false } });
    const client = wall.client();
    const [caller, both] = [await wall.authorized(), await wall.authorized({ roles: ["caller", "other"] })];
    const wrong: string[] = [];
    /** Which policy a call was begun under and ended under: it must have been decided by one of those between. */
    let generation = 0;
    let stop = false;
    const allowsCallers = (at: number): boolean => at % 2 === 0;
    const load = Promise.all(
      kinds.map(async (kind) => {
        while (!stop) {
          const begun = generation;
          const [mine, always, never] = await Promise.all([
            invoke(client, kind, { metadata: caller }),
            invoke(client, kind, { metadata: both }),
            invoke(client, kind, { metadata: {} }),
          ]);
          const same = begun === generation;
          if (always.name !== "OK") wrong.push(`${kind} always: ${always.name}`);
          if (never.name !== "UNAUTHENTICATED") wrong.push(`${kind} never: ${never.name}`);
          const expected = allowsCallers(begun) ? "OK" : "PERMISSION_DENIED";
          if (same && mine.name !== expected) wrong.push(`${kind} mine: ${mine.name} under ${begun}`);
          if (!["OK", "PERMISSION_DENIED"].includes(mine.name)) wrong.push(`${kind} mine: ${mine.name}`);
        }
      }),
    );
    loads.push(load);
    for (let i = 0; i < 40; i++) {
      generation += 1;
      wall.server.setAuthorization(allowsCallers(generation) ? callerPolicy : otherPolicy);
      expect(() =>
        wall.server.setAuthorization(rbac({ roles: {}, rules: { [`${paths.unary}x`]: "public" } })),
      ).toThrow(PolicyError);
      const before = wall.started.length;
      await eventually(() => wall.started.length >= before + 8, "calls");
    }
    stop = true;
    await load;
    expect(wrong).toEqual([]);
  });
});
