import { describe, expect, it } from "vitest";
import type { Identity } from "../../../src/chain/principal.ts";
import { ConfigError, CredentialError } from "../../../src/grpc/errors.ts";
import { allOf } from "../../../src/middleware/authentication/all-of.ts";
import { anyOf } from "../../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { memoryApiKeyStore } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../../src/middleware/authentication/mtls.ts";
import { optional } from "../../../src/middleware/authentication/optional.ts";
import { incomingCall, verdict } from "./incoming-call.ts";

function identity(subject: string, expiresAt?: number): Identity {
  const principal = {
    subject,
    kind: "user" as const,
    scheme: "own",
    roles: new Set<string>(),
    permissions: new Set<string>(),
    claims: {},
  };
  return { principal, ...(expiresAt === undefined ? {} : { expiresAt }) };
}

/** Says what its header says: `bad`, `away`, `nothing`, or a subject with an end. */
function reading(header: string, answer: "at once" | "later"): Authenticator {
  const read = (said: string): Identity => {
    if (said === "bad") throw new CredentialError("invalid", "bad");
    if (said === "away") throw new Error("away");
    if (said === "nothing") return undefined as unknown as Identity;
    const [subject = "", end] = said.split("@");
    return identity(subject, end === undefined ? undefined : Number(end));
  };
  return {
    name: header,
    source: "metadata",
    headers: [header],
    presents: (call) => call.metadata.get(header).length > 0,
    authenticate: (call) => {
      const said = String(call.metadata.get(header)[0]);
      return answer === "later" ? Promise.resolve(said).then(read) : read(said);
    },
  };
}

const cases: readonly [user: string | undefined, app: string | undefined, expected: string][] = [
  ["ada", "shop", "good: ada"],
  ["ada", undefined, "missing"],
  [undefined, "shop", "missing"],
  ["bad", undefined, "invalid"],
  [undefined, "bad", "invalid"],
  ["bad", "shop", "invalid"],
  ["ada", "bad", "invalid"],
  ["away", "shop", "failure: Error: away"],
  [undefined, "away", "failure: Error: away"],
  [undefined, undefined, "unclaimed"],
];

function presented(user: string | undefined, app: string | undefined) {
  return incomingCall({
    ...(user === undefined ? {} : { "x-user": user }),
    ...(app === undefined ? {} : { "x-app": app }),
  });
}

describe.each([
  ["at once", "at once"],
  ["at once", "later"],
  ["later", "at once"],
  ["later", "later"],
] as const)("allOf: the principal answers %s, the actor %s", (first, second) => {
  const users = reading("x-user", first);
  const apps = reading("x-app", second);
  const combined = allOf({ principal: users, actor: apps });

  it.each(cases)("A6 principal %s and actor %s: %s", async (user, app, expected) => {
    expect(await verdict(combined, presented(user, app))).toBe(expected);
  });

  it.each(["principal", "actor"])("A11 an answer of nothing for the %s is our own failure", async (which) => {
    const call = which === "principal" ? presented("nothing", "shop") : presented("ada", "nothing");
    expect(await verdict(combined, call)).toMatch(/^failure: TypeError/);
    expect(await verdict(anyOf(combined, apps), call)).toMatch(/^failure: TypeError/);
  });

  it.each([
    ["ada@2000", "shop@1000", 1000],
    ["ada@1000", "shop@2000", 1000],
    ["ada@1000", "shop", 1000],
    ["ada", "shop@1000", 1000],
    ["ada", "shop", undefined],
  ])("A12 %s and %s end at %s", async (user, app, expected) => {
    const result = await combined.authenticate(presented(user, app));
    expect(result.expiresAt).toBe(expected);
    expect(result.actor?.subject).toBe("shop");
  });

  it.each([
    ["shop", undefined, "good: shop"],
    ["bad", undefined, "invalid"],
    ["shop", "ada", "good: ada"],
    ["shop", "bad", "invalid"],
    [undefined, "ada", "missing"],
    [undefined, "bad", "invalid"],
  ])("A6 anyOf with an application alone: application %s, user %s: %s", async (app, user, expected) => {
    expect(await verdict(anyOf(combined, apps), presented(user, app))).toBe(expected);
  });

  it("A6 a credential of which half is missing is verified, before another one is taken", async () => {
    const call = incomingCall({ "x-user": "bad", "x-other": "carol" });
    expect(await verdict(anyOf(combined, reading("x-other", "at once")), call)).toBe("invalid");
  });
});

describe("allOf: options", () => {
  const users = reading("x-user", "at once");
  const apps = reading("x-app", "at once");
  const keys = apiKey({ store: memoryApiKeyStore([]) });
  it.each<[string, unknown, string]>([
    ["no actor", { principal: users }, "allOf.actor: expected an authenticator"],
    ["no authenticator", { principal: users, actor: {} }, "allOf.actor: expected an authenticator"],
    ["an unknown key", { principal: users, actor: apps, user: apps }, "allOf.user: unknown option"],
    [
      "an allOf inside",
      { principal: anyOf(allOf({ principal: users, actor: apps })), actor: keys },
      "allOf.principal: allOf cannot be used inside allOf: a call has one actor",
    ],
    [
      "one header for both",
      { principal: keys, actor: optional(keys) },
      "allOf.actor: reads x-api-key, and so does principal: one credential would count as both",
    ],
    [
      "one header for both among others",
      { principal: users, actor: anyOf(apps, users) },
      "allOf.actor: reads x-user, and so does principal: one credential would count as both",
    ],
    [
      "one certificate for both",
      { principal: mtls(), actor: mtls() },
      "allOf.actor: reads the certificate, and so does principal: one credential would count as both",
    ],
  ])("A6 %s is a ConfigError", (_what, options, problem) => {
    expect(() => allOf(options as Parameters<typeof allOf>[0])).toThrow(new ConfigError(problem));
  });

  it("A6 nobody speaks for the anonymous", async () => {
    const call = incomingCall({ "x-app": "shop" });
    expect(await verdict(allOf({ principal: optional(users), actor: apps }), call)).toBe("missing");
  });
});
