import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it, vi } from "vitest";
import { Call } from "../../../src/chain/context.ts";
import { ConfigError, PolicyError } from "../../../src/grpc/errors.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import { accessMatrix } from "../../../src/middleware/authorization/access-matrix.ts";
import { allAuthorizers } from "../../../src/middleware/authorization/all-authorizers.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import type { Authorizer, Decision, MethodPolicy } from "../../../src/middleware/authorization/authorizer.ts";
import { rbac } from "../../../src/middleware/authorization/rbac.ts";

const method = methodInfo("/orders.v1.Orders/GetOrder", "bidi_stream", true);
const call = new Call({
  method,
  peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
  metadata: new Metadata(),
  metadataBytes: 0,
  timeoutMs: undefined,
  logger: pino({ enabled: false }),
});

const allow = (rule: string): Decision => ({ effect: "allow", rule });
const deny = (rule: string): Decision => ({ effect: "deny", rule });
const none: Decision = { effect: "none" };

function authorizer(
  name: string,
  decide: MethodPolicy["decide"],
  rest: Partial<MethodPolicy> = {},
): Authorizer {
  return { name, compile: () => ({ forMethod: () => ({ access: "checked", decide, ...rest }) }) };
}

function policyOf(...authorizers: readonly Authorizer[]): MethodPolicy {
  const policy = allAuthorizers(...authorizers)
    .compile([method])
    .forMethod(method.path);
  if (policy === undefined) throw new Error("no policy");
  return policy;
}

type Answer = Decision | "throws" | "rejects" | "undefined";

function answering(name: string, answer: Answer, isSlow: boolean): Authorizer {
  return authorizer(name, () => {
    if (answer === "throws") throw new Error(name);
    if (answer === "rejects") return Promise.reject(new Error(name));
    const decision = answer === "undefined" ? (undefined as unknown as Decision) : answer;
    return isSlow ? Promise.resolve(decision) : decision;
  });
}

describe("allAuthorizers", () => {
  it.each<[readonly Answer[], string]>([
    [[allow("a")], "allow a"],
    [[allow("a"), allow("b")], "allow a + b"],
    [[allow("a"), allow("a")], "allow a"],
    [[allow("a"), deny("b")], "deny b"],
    [[deny("a"), allow("b")], "deny a"],
    [[deny("a"), deny("b")], "deny a"],
    [[allow("a"), none], "none"],
    [[none, allow("b")], "none"],
    [[allow("a"), allow("b"), deny("c")], "deny c"],
    [[allow("a"), "throws"], "error"],
    [["throws", allow("b")], "error"],
    [["throws", deny("b")], "error"],
    [[allow("a"), "rejects"], "error"],
    [[deny("a"), "throws"], "deny a"],
    [[allow("a"), "undefined"], "undefined"],
    [["undefined", allow("b")], "undefined"],
    [[{ effect: "Allow", rule: "a" } as unknown as Decision, allow("b")], "Allow a"],
    [[true as unknown as Decision, allow("b")], "true"],
  ])(
    "allows what all of them allow, and nothing else: %j is %s, whoever is slow",
    async (answers, expected) => {
      for (let slow = 0; slow < 2 ** answers.length; slow++) {
        const policy = policyOf(
          ...answers.map((answer, index) => answering(`n${index}`, answer, (slow & (2 ** index)) !== 0)),
        );
        const told = await (async () => policy.decide(call))().then(
          (decision) =>
            typeof decision === "object" && decision !== null
              ? [decision.effect, "rule" in decision ? decision.rule : ""].join(" ").trim()
              : String(decision),
          () => "error",
        );
        expect(told).toBe(expected);
      }
    },
  );

  it("keeps the ids of all decisions, and the audit record where one of them wants it", async () => {
    const deciding = (id: string, audit?: boolean): Authorizer =>
      authorizer(id, async () => ({
        effect: "allow",
        rule: "r",
        id,
        ...(audit === undefined ? {} : { audit }),
      }));
    expect(await policyOf(deciding("1", false), deciding("2", false)).decide(call)).toEqual({
      effect: "allow",
      rule: "r",
      id: "1 + 2",
      audit: false,
    });
    expect(
      await policyOf(
        deciding("1", false),
        authorizer("b", () => allow("b")),
      ).decide(call),
    ).toEqual({
      effect: "allow",
      rule: "r + b",
      id: "1",
    });
  });

  it("asks nobody after a denial", () => {
    const last = vi.fn(() => allow("c"));
    policyOf(
      authorizer("a", () => allow("a")),
      authorizer("b", () => deny("b")),
      authorizer("c", last),
    ).decide(call);
    expect(last).not.toHaveBeenCalled();
  });

  it("denies a method that one of them has no rule for", () => {
    const silent: Authorizer = { name: "silent", compile: () => ({ forMethod: () => undefined }) };
    const policy = allAuthorizers(allowAuthenticated(), silent).compile([method]);
    expect(policy.forMethod(method.path)).toBeUndefined();
  });

  it("asks about messages those who read them, and each of them must allow", async () => {
    const decideMessage = vi.fn<NonNullable<MethodPolicy["decideMessage"]>>((_call, message) =>
      message === "good" ? allow("b") : deny("b"),
    );
    const asked = vi.fn<NonNullable<MethodPolicy["decideMessage"]>>(async () => allow("c"));
    const policy = policyOf(
      authorizer("a", () => allow("a")),
      authorizer("b", () => allow("b"), { decideMessage }),
      authorizer("c", () => allow("c"), { decideMessage: asked }),
    );
    expect(await policy.decideMessage?.(call, "good")).toEqual(allow("b + c"));
    expect(await policy.decideMessage?.(call, "bad")).toEqual(deny("b"));
    expect(asked).toHaveBeenCalledOnce();
    expect(policyOf(authorizer("a", () => allow("a"))).decideMessage).toBeUndefined();
  });

  it.each([
    [["public", "public"], "public"],
    [["public", "checked"], "checked"],
    [["checked", "public"], "checked"],
  ] as const)("%j is %s", (accesses, expected) => {
    const parts = accesses.map((access, index) => authorizer(`n${index}`, () => allow("a"), { access }));
    expect(policyOf(...parts).access).toBe(expected);
  });

  it("tells the problems of all of them", () => {
    const first = rbac({ rules: { "/orders.v1.Orders/GetOrders": "authenticated" } });
    const second = rbac({ rules: { [method.path]: { roles: ["nobody"] } } });
    expect(() => allAuthorizers(first, second).compile([method])).toThrow(PolicyError);
    expect(() => allAuthorizers(first, second).compile([method])).toThrow(
      /GetOrders: no such method.*no such role nobody/s,
    );
  });

  it("hands on the callers that there can be, and the warnings", () => {
    const policy = rbac({ rules: { [method.path]: { schemes: ["jwt"] } } });
    expect(() =>
      allAuthorizers(allowAuthenticated(), policy).compile([method], { schemes: ["mtls"] }),
    ).toThrow(/no authenticator has the scheme jwt/);
    const misspelt = rbac({
      roles: { viewer: { permissions: ["order:read"] } },
      rules: { [method.path]: { permissions: ["order:raed"] } },
    });
    expect(allAuthorizers(misspelt).compile([method]).warnings).toEqual([
      expect.stringContaining("no role grants permission order:raed"),
    ]);
  });

  it("Z3 is one row of the access matrix: what all of them demand", () => {
    const orders = rbac({
      roles: { viewer: { permissions: ["order:read"] }, admin: { permissions: ["*"] }, other: {} },
      rules: { [method.path]: { permissions: ["order:read"], schemes: ["jwt", "mtls"] } },
    });
    const admins = rbac({
      roles: { admin: {}, other: {} },
      rules: { "/*": { roles: ["admin", "other"], schemes: ["jwt"], when: () => true } },
    });
    const opaque = authorizer("opaque", () => allow("x"));
    const matrix = accessMatrix([method], allAuthorizers(orders, admins, opaque).compile([method]));
    expect(matrix.roles).toEqual(["viewer", "admin", "other"]);
    expect(matrix.methods).toEqual([
      {
        method: method.path,
        kind: "bidi_stream",
        access: "restricted",
        rule: `${method.path} + /* + opaque`,
        roles: ["admin"],
        rolesWithPermissions: [],
        permissions: ["order:read"],
        schemes: ["jwt"],
        conditions: ["a condition on the request (when)", "what opaque decides at run time"],
      },
    ]);
  });

  it("is told of the changes of each, until it wants no more", () => {
    const listeners = new Set<() => void>();
    const changing: Authorizer = {
      ...allowAuthenticated(),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    const listener = vi.fn();
    const stop = allAuthorizers(allowAuthenticated(), changing).onChange?.(listener);
    for (const each of listeners) each();
    expect(listener).toHaveBeenCalledOnce();
    stop?.();
    expect(listeners.size).toBe(0);
  });

  it.each([
    [[], /at least one/],
    [[allowAuthenticated(), undefined as unknown as Authorizer], /allAuthorizers\.1/],
    [[{ name: "x" } as unknown as Authorizer], /allAuthorizers\.0/],
  ])("refuses %j", (authorizers, message) => {
    expect(() => allAuthorizers(...authorizers)).toThrow(ConfigError);
    expect(() => allAuthorizers(...authorizers)).toThrow(message);
  });
});
