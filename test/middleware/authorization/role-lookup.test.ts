import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Call, setIdentity } from "../../../src/chain/context.ts";
import { anonymousPrincipal, type Principal } from "../../../src/chain/principal.ts";
import { ConfigError } from "../../../src/grpc/errors.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import type { Decision } from "../../../src/middleware/authorization/authorizer.ts";
import type { Rule } from "../../../src/middleware/authorization/method-rule.ts";
import { rbac } from "../../../src/middleware/authorization/rbac.ts";
import type { FindRoles, RoleLookup } from "../../../src/middleware/authorization/role-lookup.ts";

const method = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);

function principal(subject: string, rest: Partial<Principal> = {}): Principal {
  return {
    subject,
    kind: "user",
    scheme: "jwt",
    roles: new Set(),
    permissions: new Set(),
    claims: {},
    ...rest,
  };
}

/** Decides about calls by one policy. */
function policy(rule: Rule, roleLookup: RoleLookup) {
  const compiled = rbac({
    roles: { viewer: { permissions: ["order:read"] }, admin: { inherits: ["viewer"] } },
    rules: { [method.path]: rule },
    roleLookup,
  }).compile([method]);
  return (caller: Principal, actor?: Principal): Decision | Promise<Decision> => {
    const call = new Call({
      method,
      peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
      metadata: new Metadata(),
      metadataBytes: 0,
      timeoutMs: undefined,
      logger: pino({ enabled: false }),
    });
    setIdentity(call, { principal: caller, ...(actor === undefined ? {} : { actor }) });
    const decision = compiled.forMethod(method.path)?.decide(call);
    if (decision === undefined) throw new Error("no policy");
    return decision;
  };
}

const effect = async (decision: Decision | Promise<Decision>): Promise<string> => (await decision).effect;

afterEach(() => {
  vi.restoreAllMocks();
});

describe("Z8 roles from a lookup", () => {
  it.each<[string, Rule, readonly string[], string]>([
    ["a role", { roles: ["viewer"] }, ["viewer"], "allow"],
    ["a role that inherits it", { roles: ["viewer"] }, ["admin"], "allow"],
    ["a role that grants the permission", { permissions: ["order:read"] }, ["viewer"], "allow"],
    ["no role", { roles: ["viewer"] }, [], "deny"],
    ["a role that nobody knows", { roles: ["viewer"] }, ["Viewer"], "deny"],
    ["another role", { roles: ["admin"] }, ["viewer"], "deny"],
    [
      "a role and not the permission",
      { roles: ["viewer"], permissions: ["order:write"] },
      ["viewer"],
      "deny",
    ],
  ])("add what the rule demands, or do not: %s", async (_what, rule, roles, expected) => {
    expect(await effect(policy(rule, async () => roles)(principal("ada")))).toBe(expected);
  });

  it("are added to those of the credential", async () => {
    const decide = policy({ roles: ["admin"], permissions: ["order:write"] }, () => ["admin"]);
    expect(await effect(decide(principal("ada", { permissions: new Set(["order:write"]) })))).toBe("allow");
    expect(await effect(decide(principal("bob")))).toBe("deny");
  });

  it("are not asked for where they make no difference", async () => {
    const find = vi.fn<FindRoles>(() => ["viewer"]);
    const decide = policy({ roles: ["viewer"], schemes: ["jwt"], actor: { schemes: ["mtls"] } }, find);
    const application = principal("shop", { kind: "service", scheme: "mtls" });
    const enough = principal("ada", { roles: new Set(["viewer"]) });
    expect(await effect(decide(enough, application))).toBe("allow");
    expect(await effect(decide(enough))).toBe("deny");
    expect(await effect(decide(principal("ada")))).toBe("deny");
    expect(await effect(decide(principal("ada", { scheme: "api-key" }), application))).toBe("deny");
    expect(await effect(decide(anonymousPrincipal, application))).toBe("deny");
    expect(find).not.toHaveBeenCalled();
    expect(await effect(decide(principal("ada"), application))).toBe("allow");
    expect(find).toHaveBeenCalledOnce();
  });

  it("are not asked for nobody, and make nobody somebody", async () => {
    const find = vi.fn<FindRoles>(() => ["viewer"]);
    const decide = policy({ roles: ["viewer"] }, find);
    expect(await effect(decide(anonymousPrincipal))).toBe("deny");
    expect(find).not.toHaveBeenCalled();
  });

  it("are asked for once, however many calls wait, and then kept", async () => {
    let answer: (roles: readonly string[]) => void = () => {};
    const find = vi.fn<FindRoles>(
      () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    );
    const decide = policy({ roles: ["viewer"] }, find);
    const waiting = Array.from({ length: 50 }, () => decide(principal("ada")));
    await vi.waitFor(() => expect(find).toHaveBeenCalled());
    answer(["viewer"]);
    expect(new Set(await Promise.all(waiting.map(effect)))).toEqual(new Set(["allow"]));
    expect(decide(principal("ada"))).toMatchObject({ effect: "allow" });
    expect(find).toHaveBeenCalledOnce();
  });

  it("are looked up by what answers are kept by: no claim and no right of the credential is shown", async () => {
    const find = vi.fn<FindRoles>(() => []);
    await policy(
      { roles: ["viewer"] },
      find,
    )(principal("ada", { claims: { org: "a" }, tenant: "acme", permissions: new Set(["x:y"]) }));
    expect(find.mock.calls[0]?.[0]).toEqual({ kind: "user", scheme: "jwt", subject: "ada", tenant: "acme" });
  });

  it.each<[string, Partial<Principal>]>([
    ["another issuer", { issuer: "https://other.example" }],
    ["another tenant", { tenant: "acme" }],
    ["another scheme", { scheme: "introspection" }],
    ["another kind", { kind: "service" }],
  ])("are never those of somebody with the same subject: %s", async (_what, rest) => {
    const decide = policy({ roles: ["viewer"] }, (caller) =>
      caller.issuer === undefined &&
      caller.tenant === undefined &&
      caller.scheme === "jwt" &&
      caller.kind === "user"
        ? ["viewer"]
        : [],
    );
    expect(await effect(decide(principal("ada")))).toBe("allow");
    expect(await effect(decide(principal("ada", rest)))).toBe("deny");
  });

  it("are asked for again once they are old, and a role that was taken away is gone then", async () => {
    const answers = [["viewer"], []];
    const decide = policy({ roles: ["viewer"] }, { find: () => answers.shift() ?? [], maxAgeSec: 30 });
    const now = performance.now();
    const clock = vi.spyOn(performance, "now").mockReturnValue(now);
    expect(await effect(decide(principal("ada")))).toBe("allow");
    clock.mockReturnValue(now + 29_999);
    expect(await effect(decide(principal("ada")))).toBe("allow");
    clock.mockReturnValue(now + 30_000);
    expect(await effect(decide(principal("ada")))).toBe("deny");
  });

  it("L10 are kept of so many callers and no more", async () => {
    const find = vi.fn<FindRoles>(() => ["viewer"]);
    const decide = policy({ roles: ["viewer"] }, { find, maxEntries: 3 });
    for (const subject of ["a", "b", "c", "d"]) await decide(principal(subject));
    expect(find).toHaveBeenCalledTimes(4);
    expect(decide(principal("d"))).toMatchObject({ effect: "allow" });
    expect(find).toHaveBeenCalledTimes(4);
    await decide(principal("a"));
    expect(find).toHaveBeenCalledTimes(5);
  });

  const broken: readonly (readonly [string, FindRoles])[] = [
    [
      "throws",
      () => {
        throw new Error("the users' table is away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("the users' table is away"))],
    ["answers nothing", () => undefined as unknown as string[]],
    ["answers null", async () => null as unknown as string[]],
    ["answers a text", () => "viewer"],
    ["answers true", () => true as unknown as string[]],
    ["answers an object", () => ({ viewer: true }) as unknown as string[]],
    ["answers pairs", () => new Map([["viewer", "viewer"]]) as unknown as string[]],
  ];

  it.each(broken)(
    "are no yes and no no where the lookup %s: it fails, and is asked again",
    async (_what, find) => {
      let works = false;
      const decide = policy({ roles: ["viewer"] }, (caller, timeUp) =>
        works ? ["viewer"] : find(caller, timeUp),
      );
      await expect((async () => decide(principal("ada")))()).rejects.toThrow();
      works = true;
      expect(await effect(decide(principal("ada")))).toBe("allow");
    },
  );

  it("are waited for so long and no longer; the next call asks again", async () => {
    const aborted: AbortSignal[] = [];
    let works = false;
    const decide = policy(
      { roles: ["viewer"] },
      {
        find: (_caller, timeUp) => {
          aborted.push(timeUp);
          return works ? ["viewer"] : new Promise(() => {});
        },
        timeoutMs: 20,
      },
    );
    await expect(decide(principal("ada"))).rejects.toThrow(/roleLookup did not answer within 20 ms/);
    expect(aborted[0]?.aborted).toBe(true);
    works = true;
    expect(await effect(decide(principal("ada")))).toBe("allow");
  });

  it.each([
    [{ roleLookup: true }, /roleLookup/],
    [{ roleLookup: {} }, /roleLookup\.find: expected a function/],
    [{ roleLookup: { find: () => [], maxAgeSec: 0 } }, /roleLookup\.maxAgeSec/],
    [{ roleLookup: { find: () => [], ttl: 1 } }, /roleLookup\.ttl: unknown option/],
  ])("are refused with the option's path: %j", (options, message) => {
    expect(() => rbac({ rules: {}, ...(options as object) })).toThrow(ConfigError);
    expect(() => rbac({ rules: {}, ...(options as object) })).toThrow(message);
  });
});
