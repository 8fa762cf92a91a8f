import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { Call } from "../../../src/chain/context.ts";
import { anonymousPrincipal, type Identity } from "../../../src/chain/principal.ts";
import { ConfigError, CredentialError } from "../../../src/grpc/errors.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import { anonymous } from "../../../src/middleware/authentication/anonymous.ts";
import { anyOf } from "../../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import { authentication } from "../../../src/middleware/authentication/authentication.ts";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import {
  issueApiKey,
  memoryApiKeyStore,
} from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { optional } from "../../../src/middleware/authentication/optional.ts";
import { audience, issuer, nowSec, signingKey, token } from "./identity-provider.ts";
import { incomingCall, outcomeOf, refusalBy } from "./incoming-call.ts";

const key = signingKey("ES256");
const otherKey = signingKey("ES256");
const otherIssuer = "https://other.example";
const issued = issueApiKey({ owner: "billing" });

const user = jwt({ issuer, audience, keys: key.jwk });
const partner = jwt({ issuer: otherIssuer, audience, keys: otherKey.jwk });
const application = apiKey({ store: memoryApiKeyStore([issued.record]) });

const goodToken = `Bearer ${token(key)}`;
const badToken = `Bearer ${token(otherKey)}`;
const expiredToken = `Bearer ${token(key, { exp: nowSec() - 60 })}`;
const partnerToken = `Bearer ${token(otherKey, { iss: otherIssuer, sub: "bob" })}`;
const strangersToken = `Bearer ${token(key, { iss: "https://stranger.example" })}`;

const missing = "UNAUTHENTICATED missing credentials";
const invalid = "UNAUTHENTICATED invalid credentials";
const expired = "UNAUTHENTICATED expired credentials";
const away = "UNAVAILABLE temporarily unavailable";

function custom(parts: Partial<Authenticator>): Authenticator {
  return {
    name: "custom",
    source: "metadata",
    presents: () => true,
    authenticate: () => ({ principal: { ...anonymousPrincipal, subject: "custom", kind: "service" } }),
    ...parts,
  };
}

async function result(authenticator: Authenticator, call: Call, isPublic = false): Promise<string> {
  const outcome = await outcomeOf(authentication(authenticator, { isPublic: () => isPublic }), call);
  if (outcome !== "in") expect(call.principal).toBeUndefined();
  return outcome === "in" ? `in as ${call.principal?.subject}` : outcome;
}

describe("authentication: one or several credentials", () => {
  const both = anyOf(user, application);
  const all = anyOf(anyOf(application, partner), optional(user));
  it.each<[string, Authenticator, Record<string, string | readonly string[]>, string, string]>([
    // what, authenticator, headers, on a checked method, on a public method
    ["nothing", user, {}, missing, "in as anonymous"],
    ["a good token", user, { authorization: goodToken }, "in as ada", "in as ada"],
    ["a bad token", user, { authorization: badToken }, invalid, invalid],
    ["an expired token", user, { authorization: expiredToken }, expired, expired],
    ["another scheme", user, { authorization: "Basic YTpi" }, invalid, invalid],
    ["an empty authorization", user, { authorization: "" }, invalid, invalid],
    ["a token of an unknown issuer", user, { authorization: strangersToken }, invalid, invalid],
    ["an unsigned bearer", user, { authorization: "Bearer opaque" }, invalid, invalid],
    ["a token of 100 kB", user, { authorization: `Bearer ${"x".repeat(100_000)}` }, invalid, invalid],
    ["the token twice", user, { authorization: [goodToken, goodToken] }, invalid, invalid],
    ["an API key that nobody reads", user, { "x-api-key": issued.key }, invalid, invalid],
    [
      "a good token and an API key that nobody reads",
      user,
      { authorization: goodToken, "x-api-key": "k" },
      invalid,
      invalid,
    ],
    ["a good API key", both, { "x-api-key": issued.key }, "in as billing", "in as billing"],
    ["an empty API key", both, { "x-api-key": "" }, invalid, invalid],
    ["two API keys", both, { "x-api-key": [issued.key, issued.key] }, invalid, invalid],
    [
      "both good: the first listed is the principal",
      both,
      { authorization: goodToken, "x-api-key": issued.key },
      "in as ada",
      "in as ada",
    ],
    [
      "both good, in the other order",
      anyOf(application, user),
      { authorization: goodToken, "x-api-key": issued.key },
      "in as billing",
      "in as billing",
    ],
    ["good token, bad key", both, { authorization: goodToken, "x-api-key": "bad" }, invalid, invalid],
    ["good key, bad token", both, { authorization: badToken, "x-api-key": issued.key }, invalid, invalid],
    [
      "good key, expired token",
      both,
      { authorization: expiredToken, "x-api-key": issued.key },
      expired,
      expired,
    ],
    [
      "good key, unknown scheme",
      both,
      { authorization: "Basic YTpi", "x-api-key": issued.key },
      invalid,
      invalid,
    ],
    [
      "good key, unknown issuer",
      both,
      { authorization: strangersToken, "x-api-key": issued.key },
      invalid,
      invalid,
    ],
    ["nothing, with both possible", both, {}, missing, "in as anonymous"],
    [
      "a token of the second issuer",
      anyOf(user, partner),
      { authorization: partnerToken },
      "in as bob",
      "in as bob",
    ],
    [
      "a token with the key of the other issuer",
      anyOf(user, partner),
      { authorization: badToken },
      invalid,
      invalid,
    ],
    ["nested: the first issuer", all, { authorization: goodToken }, "in as ada", "in as ada"],
    ["nested: the second issuer", all, { authorization: partnerToken }, "in as bob", "in as bob"],
    [
      "nested: key and token",
      all,
      { authorization: goodToken, "x-api-key": issued.key },
      "in as billing",
      "in as billing",
    ],
    ["nested: nothing", all, {}, "in as anonymous", "in as anonymous"],
    ["nested: an unknown issuer", all, { authorization: strangersToken }, invalid, invalid],
    ["optional: nothing", optional(user), {}, "in as anonymous", "in as anonymous"],
    ["optional: a good token", optional(user), { authorization: goodToken }, "in as ada", "in as ada"],
    ["optional: a bad token", optional(user), { authorization: badToken }, invalid, invalid],
    ["optional: an unknown scheme", optional(user), { authorization: "Basic YTpi" }, invalid, invalid],
    [
      "optional listed first does not hide who is known",
      anyOf(optional(user), application),
      { "x-api-key": issued.key },
      "in as billing",
      "in as billing",
    ],
    [
      "anonymous listed first does not hide who is known",
      anyOf(anonymous(), user),
      { authorization: goodToken },
      "in as ada",
      "in as ada",
    ],
    ["anonymous: nothing", anonymous(), {}, "in as anonymous", "in as anonymous"],
    [
      "anonymous: a credential that nobody can check",
      anonymous(),
      { authorization: goodToken },
      invalid,
      invalid,
    ],
  ])("A6 %s", async (_, authenticator, headers, checked, open) => {
    expect(await result(authenticator, incomingCall(headers))).toBe(checked);
    expect(await result(authenticator, incomingCall(headers), true)).toBe(open);
  });

  it("A6 a bad credential behind a pending one ends the call, and the pending one's failure goes nowhere else", async () => {
    let fail: (error: Error) => void = () => {};
    const slow = custom({
      headers: ["x-slow"],
      authenticate: () => new Promise<Identity>((_, reject) => (fail = reject)),
    });
    const quick = custom({
      headers: ["x-quick"],
      authenticate: () => {
        throw new CredentialError("expired", "over");
      },
    });
    expect(await result(anyOf(slow, quick), incomingCall())).toBe(expired);
    fail(new Error("too late"));
    await new Promise((resolve) => setImmediate(resolve));
  });

  it("A6 an API key that is answered at once is passed on without a promise", () => {
    const call = incomingCall({ "x-api-key": issued.key });
    expect(authentication(anyOf(user, application)).onCall?.(call)).toBeUndefined();
    expect(call.principal?.subject).toBe("billing");
  });

  it.each([
    ["anyOf of nothing", () => anyOf()],
    ["anyOf of something else", () => anyOf(user, {} as Authenticator)],
    ["optional of something else", () => optional(undefined as unknown as Authenticator)],
    ["authentication by something else", () => authentication({ name: "x" } as Authenticator)],
    ["an unknown option", () => authentication(user, { public: [] } as object)],
  ])("A6 refuses at start: %s", (_, make) => {
    expect(make).toThrow(ConfigError);
  });
});

describe("authentication: the layer", () => {
  it("A9 takes identities that nobody verified out of the metadata, for the admitted and the refused", async () => {
    const claimed = { "x-user-id": "root", "x-tenant-id": "acme" };
    for (const headers of [{ authorization: goodToken }, { authorization: badToken }, {}]) {
      for (const isPublic of [true, false]) {
        const call = incomingCall({ ...claimed, ...headers, "x-other": "stays" });
        await result(user, call, isPublic);
        expect(Object.keys(call.metadata.getMap()).filter((name) => name.startsWith("x-"))).toEqual([
          "x-other",
        ]);
      }
    }
  });

  it.each([
    ["/grpc.health.v1.Health/Check", true, false],
    ["/grpc.health.v1.Health/Watch", true, false],
    ["/grpc.health.v1.Health/List", true, true],
    ["/grpc.health.v1.Health/Check", false, true],
    ["/orders.v1.Orders/GetOrder", true, true],
  ])("A10 %s (known: %s) is checked: %s", (path, known, applies) => {
    expect(authentication(user).appliesTo?.(methodInfo(path, "unary", known))).toBe(applies);
  });

  it.each<[string, Authenticator, Record<string, string>, string]>([
    ["a stranger", user, {}, missing],
    ["a stranger, with optional", optional(user), {}, missing],
    ["anyone, with anonymous", anonymous(), {}, missing],
    ["somebody with a bad token", user, { authorization: badToken }, invalid],
    ["somebody known", user, { authorization: goodToken }, "in as ada"],
  ])("C8 asks of a method that does not exist: %s", async (_, authenticator, headers, expected) => {
    expect(await result(authenticator, incomingCall(headers, { known: false }), true)).toBe(expected);
  });

  it("A11 the reason is the cause, and nothing of it in the text", async () => {
    const refusal = await refusalBy(authentication(user), incomingCall({ authorization: badToken }));
    expect(refusal).toMatchObject({ code: status.UNAUTHENTICATED, details: "invalid credentials" });
    expect(refusal?.cause).toBeInstanceOf(CredentialError);
  });

  it.each<[string, Partial<Authenticator>]>([
    [
      "a throw",
      {
        authenticate: () => {
          throw new Error("away");
        },
      },
    ],
    ["a rejection", { authenticate: () => Promise.reject(new Error("away")) }],
    [
      "a throw in presents",
      {
        presents: () => {
          throw new Error("away");
        },
      },
    ],
    ["no answer", { authenticate: () => undefined as unknown as Identity }],
    ["an answer of undefined later", { authenticate: async () => undefined as unknown as Identity }],
    ["an answer without principal", { authenticate: () => ({}) as Identity }],
  ])("A11 an authenticator's own failure is UNAVAILABLE: %s", async (_, parts) => {
    expect(await result(custom(parts), incomingCall())).toBe(away);
    expect(await result(anyOf(custom(parts)), incomingCall())).toBe(away);
    expect(await result(anyOf(custom({}), custom(parts)), incomingCall())).toBe(away);
    expect(await result(anyOf(custom(parts), custom({})), incomingCall())).toBe(away);
  });

  it.each([
    ["missing", missing],
    ["invalid", invalid],
    ["expired", expired],
  ] as const)("A11 tells %s", async (problem, expected) => {
    const error = new CredentialError(problem, "for the log");
    expect(await result(custom({ authenticate: () => Promise.reject(error) }), incomingCall())).toBe(
      expected,
    );
  });

  it.each([[1], [Number.NaN]])("A12 an identity that ended at %s is not admitted", async (expiresAt) => {
    const identity = { principal: { ...anonymousPrincipal, kind: "user" as const }, expiresAt };
    expect(await result(custom({ authenticate: () => identity }), incomingCall())).toBe(expired);
  });
});

describe("authentication: own authenticators", () => {
  const reads = (header: string): Pick<Authenticator, "presents"> => ({
    presents: (call) => call.metadata.get(header).length > 0,
  });
  const undeclared = custom(reads("x-api-key"));
  const declared = custom({ ...reads("x-session"), headers: ["X-Session"] });
  const certificate = custom({ source: "connection" });

  it.each<[string, Authenticator, Record<string, string | readonly string[]>, string]>([
    [
      "one that does not say what it reads works as documented",
      undeclared,
      { "x-api-key": "k" },
      "in as custom",
    ],
    [
      "it answers for one credential, not for two",
      undeclared,
      { "x-api-key": "k", authorization: "Basic YTpi" },
      invalid,
    ],
    [
      "it goes with one that says what it reads",
      anyOf(undeclared, user),
      { "x-api-key": "k", authorization: goodToken },
      "in as custom",
    ],
    [
      "it does not excuse a bad credential",
      anyOf(undeclared, user),
      { "x-api-key": "k", authorization: badToken },
      invalid,
    ],
    ["a declared header is a credential", declared, { "x-session": "s" }, "in as custom"],
    ["a declared header may stand once", declared, { "x-session": ["s", "t"] }, invalid],
    ["it does not answer for others", declared, { "x-session": "s", authorization: "Basic YTpi" }, invalid],
    ["a certificate does not answer for a header", certificate, { authorization: "Basic YTpi" }, invalid],
    ["a certificate alone", certificate, {}, "in as custom"],
    [
      "a certificate and a good token",
      anyOf(certificate, user),
      { authorization: goodToken },
      "in as custom",
    ],
    ["a certificate and a bad token", anyOf(certificate, user), { authorization: badToken }, invalid],
  ])("A6 %s", async (_, authenticator, headers, expected) => {
    expect(await result(authenticator, incomingCall(headers))).toBe(expected);
  });
});
