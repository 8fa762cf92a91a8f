import { Metadata, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Call, type CallContext, setIdentity } from "../../../src/chain/context.ts";
import { anonymousPrincipal, type Principal } from "../../../src/chain/principal.ts";
import { ConfigError, StatusError } from "../../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo } from "../../../src/grpc/method.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import {
  authorization,
  authorizationBy,
  PolicyHolder,
} from "../../../src/middleware/authorization/authorization.ts";
import type { Decision, MethodPolicy, Policy } from "../../../src/middleware/authorization/authorizer.ts";
import { rbac } from "../../../src/middleware/authorization/rbac.ts";

const get = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);
const watch = methodInfo("/orders.v1.Orders/WatchOrders", "bidi_stream", true);
const none: ReadonlySet<string> = new Set();
const ada: Principal = {
  subject: "ada",
  kind: "user",
  scheme: "jwt",
  roles: none,
  permissions: none,
  claims: {},
};

function callTo(target: MethodInfo, principal: Principal | undefined = ada): Call {
  const call = new Call({
    method: target,
    peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
    metadata: new Metadata(),
    metadataBytes: 0,
    timeoutMs: undefined,
    logger: pino({ enabled: false }),
  });
  if (principal !== undefined) setIdentity(call, { principal });
  return call;
}

function strangerTo(target: MethodInfo): Call {
  return new Call({
    method: target,
    peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
    metadata: new Metadata(),
    metadataBytes: 0,
    timeoutMs: undefined,
    logger: pino({ enabled: false }),
  });
}

function policy(decide: MethodPolicy["decide"]): Policy {
  return { forMethod: () => ({ access: "checked", decide }) };
}

/** Allows every call, and decides on each message. */
function policyByMessage(decideMessage: NonNullable<MethodPolicy["decideMessage"]>): Policy {
  return {
    forMethod: () => ({
      access: "checked",
      decide: () => ({ effect: "allow", rule: "of the call" }),
      decideMessage,
    }),
  };
}

/** What a hook refused with; undefined where it let the call pass. */
async function refusal(hook: () => void | Promise<void>): Promise<StatusError | undefined> {
  try {
    await hook();
  } catch (error) {
    if (error instanceof StatusError) return error;
    throw error;
  }
  return undefined;
}

describe("the authorization layer", () => {
  it("Z9 records the rule that allowed, and stays synchronous", () => {
    const layer = authorization(rbac({ rules: { "/orders.*": "authenticated" } }), [get]);
    const call = callTo(get);
    expect(layer.onCall?.(call)).toBeUndefined();
    expect(call.decision).toEqual({ effect: "allow", rule: "/orders.*" });
  });

  it("Z9 records the rule that denied and why, and tells the caller neither", async () => {
    const layer = authorization(
      rbac({ roles: { admin: {} }, rules: { "/orders.*": { roles: ["admin"] } } }),
      [get],
    );
    const call = callTo(get);
    const refused = await refusal(() => layer.onCall?.(call));
    expect(refused).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: "permission denied",
      errorDetails: [],
    });
    expect(refused?.cause).toBeUndefined();
    expect(call.decision).toEqual({ effect: "deny", rule: "/orders.*", reason: "needs role admin" });
  });

  const denials: readonly (readonly [string, unknown, object])[] = [
    ["no opinion", { effect: "none" }, { effect: "deny", rule: "no rule" }],
    ["an effect that does not exist", { effect: "ALLOW", rule: "r" }, { effect: "deny", rule: "no rule" }],
    ["an effect that is only truthy", { effect: true, rule: "r" }, { effect: "deny", rule: "no rule" }],
    ["a denial", { effect: "deny", rule: "r", reason: "w" }, { effect: "deny", rule: "r", reason: "w" }],
  ];
  it.each(denials)("Z1 denies on %s, at once or later", async (_, answer, recorded) => {
    for (const decide of [() => answer as Decision, async () => answer as Decision]) {
      const call = callTo(get);
      const refused = await refusal(() => authorizationBy(new PolicyHolder(policy(decide))).onCall?.(call));
      expect(refused?.code).toBe(status.PERMISSION_DENIED);
      expect(call.decision).toEqual(recorded);
    }
  });

  const failure = new Error("the policy engine is away");
  const failures: readonly (readonly [string, () => unknown])[] = [
    [
      "throws",
      () => {
        throw failure;
      },
    ],
    ["rejects", () => Promise.reject(failure)],
    [
      "throws a status of its own",
      () => {
        throw new StatusError(status.OK + 5, "who knows");
      },
    ],
    ["answers nothing", () => undefined],
    ["answers nothing later", async () => undefined],
    ["answers true", () => true],
  ];
  it.each(failures)("Z1 a policy that %s lets nobody in: UNAVAILABLE", async (_, decide) => {
    const call = callTo(get);
    const layer = authorizationBy(new PolicyHolder(policy(decide as MethodPolicy["decide"])));
    const refused = await refusal(() => layer.onCall?.(call));
    expect(refused).toMatchObject({ code: status.UNAVAILABLE, details: "temporarily unavailable" });
    expect(refused?.cause).toBeInstanceOf(Error);
    expect(call.decision).toBeUndefined();
  });

  it("Z1 denies where no authentication ran, even on a public method", async () => {
    const call = strangerTo(get);
    const layer = authorization(rbac({ rules: { [get.path]: "public" } }), [get]);
    expect(await refusal(() => layer.onCall?.(call))).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(call.decision).toMatchObject({ effect: "deny", rule: "no principal" });
  });

  it("Z1 denies what the policy does not know, and everything before there is a policy", async () => {
    const holder = new PolicyHolder();
    const layer = authorizationBy(holder);
    const early = callTo(get);
    expect(await refusal(() => layer.onCall?.(early))).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(early.decision).toEqual({ effect: "deny", rule: "no rule" });
    expect(holder.isPublic(get.path)).toBe(false);
    holder.replace(allowAuthenticated().compile([get]));
    expect(await refusal(() => layer.onCall?.(callTo(get)))).toBeUndefined();
    expect(await refusal(() => layer.onCall?.(callTo(watch)))).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
  });

  it("Z1 decides by the policy in force when the call comes", async () => {
    const holder = new PolicyHolder(rbac({ rules: { "/*": "authenticated" } }).compile([get]));
    const layer = authorizationBy(holder);
    expect(await refusal(() => layer.onCall?.(callTo(get)))).toBeUndefined();
    holder.replace(rbac({ roles: { admin: {} }, rules: { "/*": { roles: ["admin"] } } }).compile([get]));
    expect(await refusal(() => layer.onCall?.(callTo(get)))).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
  });

  it("A10 C8 has no part in health probes and in unknown methods", () => {
    const layer = authorizationBy(new PolicyHolder());
    const probe = methodInfo("/grpc.health.v1.Health/Check", "unary", true);
    const health = methodInfo("/grpc.health.v1.Health/List", "unary", true);
    const unknown = methodInfo("/orders.v1.Orders/Nothing", "unary", false);
    expect([probe, health, unknown, get].map((one) => layer.appliesTo?.(one))).toEqual([
      false,
      true,
      false,
      true,
    ]);
  });
});

describe("C13 a policy that reads messages", () => {
  const own = (_call: CallContext, message: unknown): Decision =>
    message === "mine"
      ? { effect: "allow", rule: "own" }
      : { effect: "deny", rule: "own", reason: "not the owner" };

  it("C13 decides the call, and then each message", async () => {
    const layer = authorizationBy(new PolicyHolder(policyByMessage(own)));
    const call = callTo(watch);
    expect(await refusal(() => layer.onCall?.(call))).toBeUndefined();
    expect(layer.needsMessage?.(call)).toBe(true);
    expect(call.decision).toEqual({ effect: "allow", rule: "of the call" });
    expect(await refusal(() => layer.onRequest?.("mine", call))).toBeUndefined();
    expect(call.decision).toEqual({ effect: "allow", rule: "own" });
    expect(await refusal(() => layer.onRequest?.("theirs", call))).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    expect(call.decision).toEqual({ effect: "deny", rule: "own", reason: "not the owner" });
  });

  it.each([undefined, null, true, "allow"])(
    "C13 refuses a message of which it answers %j",
    async (answer) => {
      const layer = authorizationBy(new PolicyHolder(policyByMessage(() => answer as never)));
      const call = callTo(watch);
      await layer.onCall?.(call);
      expect(await refusal(() => layer.onRequest?.("mine", call))).toMatchObject({
        code: status.UNAVAILABLE,
      });
    },
  );

  it("C13 asks once where the policy does not read messages", async () => {
    let asked = 0;
    const layer = authorizationBy(
      new PolicyHolder(
        policy(() => {
          asked += 1;
          return { effect: "allow", rule: "r" };
        }),
      ),
    );
    const call = callTo(watch);
    await layer.onCall?.(call);
    await layer.onRequest?.("one", call);
    await layer.onRequest?.("two", call);
    expect(asked).toBe(1);
    expect(layer.needsMessage?.(call)).toBe(false);
  });

  it("C13 a policy replaced between call and message leaves no call undecided", async () => {
    const holder = new PolicyHolder(policyByMessage(own));
    const layer = authorizationBy(holder);
    const call = callTo(watch);
    await layer.onCall?.(call);
    holder.replace(policy(() => ({ effect: "deny", rule: "new" })));
    expect(await refusal(() => layer.onRequest?.("mine", call))).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    expect(call.decision).toEqual({ effect: "deny", rule: "new" });
  });
});

describe("allowAuthenticated", () => {
  it("Z1 lets in every verified caller and no anonymous one", () => {
    const decide = (principal: Principal) =>
      allowAuthenticated().compile([get]).forMethod(get.path)?.decide(callTo(get, principal));
    expect(decide(ada)).toEqual({ effect: "allow", rule: "allow-authenticated" });
    expect(decide(anonymousPrincipal)).toMatchObject({ effect: "deny", rule: "allow-authenticated" });
    expect(allowAuthenticated().compile([get]).forMethod(watch.path)).toBeUndefined();
  });
});

it("Z2 refuses a service definition in place of the methods, and says what reads one", () => {
  const definition = { GetOrder: { path: get.path } };
  expect(() => authorization(allowAuthenticated(), definition as unknown as readonly MethodInfo[])).toThrow(
    ConfigError,
  );
});
