// Tokens and answers made to break the one who reads them (A1, A11): the caller is told the same as ever, and the reason in
// the log is short.
import { Buffer } from "node:buffer";
import { createPublicKey, generateKeyPairSync, type JsonWebKey } from "node:crypto";
import { describe, expect, it } from "vitest";
import { checkPrincipal } from "../../../src/chain/principal.ts";
import { anyOf } from "../../../src/middleware/authentication/any-of.ts";
import { authentication } from "../../../src/middleware/authentication/authentication.ts";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import { publicJwksFrom, UnusableKey } from "../../../src/middleware/authentication/jwt/public-jwk.ts";
import { shownClaim } from "../../../src/middleware/authentication/jwt/token-claims.ts";
import { bearer, incomingCall, outcomeOf, refusalBy } from "./incoming-call.ts";

const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const issuer = "https://id.example";
const tokens = jwt({ issuer, audience: "orders", keys: publicKey });

/** A token whose payload is this JSON. */
function token(payload: string): string {
  const header = Buffer.from('{"alg":"RS256"}').toString("base64url");
  return `${header}.${Buffer.from(payload).toString("base64url")}.AAAA`;
}

/** As deep as a token of 16 KiB can be. */
const deep = 5_800;
const hostile: readonly (readonly [name: string, iss: string])[] = [
  ["a deep array", `${"[".repeat(deep)}${"]".repeat(deep)}`],
  ["a deep object", `${'{"a":'.repeat(1_900)}1${"}".repeat(1_900)}`],
  [
    "a list of deep arrays",
    `[${"[".repeat(2_800)}${"]".repeat(2_800)},${"[".repeat(2_800)}${"]".repeat(2_800)}]`,
  ],
  ["a long list", `[${Array.from({ length: 5_000 }, () => "1").join(",")}]`],
  ["a long text", `"${"x".repeat(11_000)}"`],
  ["a number without end", "9".repeat(11_000)],
  ["a number beyond all", "1e999999"],
  ["a member __proto__", '{"__proto__":{"toString":1,"toJSON":1}}'],
  ["a member toJSON", '{"toJSON":1,"toString":2,"valueOf":3}'],
  ["half a surrogate pair", '"\\ud800"'],
  ["halves of surrogate pairs in a list", `[${Array.from({ length: 500 }, () => '"\\udfff"').join(",")}]`],
  ["marks that turn text around", '"\\u202e\\u2066\\u009b31m"'],
  ["null", "null"],
  ["true", "true"],
];

function fail(): never {
  throw new Error("it is broken");
}

const explanations: readonly (readonly [what: string, explain: () => unknown])[] = [
  ["throws", fail],
  ["has no end", () => "x".repeat(1_000_000)],
  ["is no text", () => ({ toString: () => "x" })],
];

describe("explanations of hostile tokens", () => {
  const layer = authentication(tokens);

  it.each(hostile)("A11 a token whose iss is %s is invalid, and the reason is short", async (_name, iss) => {
    const refusal = await refusalBy(layer, bearer(token(`{"iss":${iss}}`)));
    expect(refusal?.message).toBe("invalid credentials");
    const reason = refusal?.cause instanceof Error ? refusal.cause.message : "";
    expect(reason).toContain("the token's issuer (iss) is ");
    expect(reason.length).toBeLessThan(400);
    expect(reason.isWellFormed()).toBe(true);
    expect(reason).not.toMatch(/[\u0080-\u009f\u202e\u2066]/);
  });

  it.each(hostile)("A11 a claim that is %s is shown within 128 characters", (_name, json) => {
    const shown = shownClaim(JSON.parse(json));
    expect(shown.length).toBeLessThanOrEqual(128);
    expect(shown.isWellFormed()).toBe(true);
  });

  it("A11 a claim is shown as it stands where it is text, a number, or a list of them", () => {
    const claims = ["orders", 7, undefined, null, ["a", "b", 3], [], [{ a: 1 }, [1]], { a: 1 }];
    expect(claims.map(shownClaim)).toEqual([
      '"orders"',
      "7",
      "missing",
      "null",
      '["a","b",3]',
      "[]",
      "[an object,an array]",
      "an object",
    ]);
  });

  it.each(explanations)(
    "A11 an own authenticator's explanation that %s does not change what the caller is told",
    async (_what, explain) => {
      const own = {
        name: "own",
        source: "metadata",
        headers: ["authorization"],
        presents: () => false,
        explain,
        authenticate: fail,
      } as unknown as Authenticator;
      const refusal = await refusalBy(authentication(anyOf(tokens, own)), bearer("nonsense"));
      expect(refusal?.message).toBe("invalid credentials");
      expect(String(refusal?.cause).length).toBeLessThan(1_000);
    },
  );
});

const jwk = publicKey.export({ format: "jwk" });

function withExponent(e: bigint): JsonWebKey {
  const hex = e.toString(16);
  return { ...jwk, e: Buffer.from(hex.length % 2 === 1 ? `0${hex}` : hex, "hex").toString("base64url") };
}

describe("RSA keys with a public exponent that protects nothing", () => {
  const exponents = [0n, 1n, 2n, 3n, 4n, 17n, 65_535n, 65_536n, 65_538n, 2n ** 256n + 1n];

  it.each(exponents)("A1 e = %s is refused as a JWK, in a set, as PEM and as a KeyObject", (e) => {
    const given = withExponent(e);
    const key = createPublicKey({ key: given, format: "jwk" });
    const pem = key.export({ type: "spki", format: "pem" });
    for (const value of [given, { keys: [given] }, key, pem])
      expect(() => publicJwksFrom(value)).toThrow(UnusableKey);
    expect(() => jwt({ issuer, audience: "orders", keys: pem.toString() })).toThrow(/public exponent/);
  });

  it.each([65_537n, 65_539n, 2n ** 256n - 1n])("A1 e = %s is accepted", (e) => {
    expect(publicJwksFrom(withExponent(e))).toHaveLength(1);
  });
});

const whole = {
  subject: "ada",
  kind: "user",
  scheme: "own",
  roles: new Set(["viewer"]),
  permissions: new Set<string>(),
  claims: {},
};

function deepArray(): unknown {
  return JSON.parse("[".repeat(20_000) + "]".repeat(20_000));
}

const faulty: readonly (readonly [what: string, principal: unknown])[] = [
  ["is nothing", undefined],
  ["is text", "ada"],
  ["has an empty subject", { ...whole, subject: "" }],
  ["has no subject", { ...whole, subject: undefined }],
  ["has a number as its subject", { ...whole, subject: 7 }],
  ["has no kind", { ...whole, kind: undefined }],
  ["has a kind of its own", { ...whole, kind: "admin" }],
  ["has no scheme", { ...whole, scheme: undefined }],
  ["has an empty scheme", { ...whole, scheme: "" }],
  ["has a nested tenant", { ...whole, tenant: deepArray() }],
  ["has a nested issuer", { ...whole, issuer: { a: 1 } }],
  ["has roles that are a list", { ...whole, roles: ["viewer"] }],
  ["has a nested role", { ...whole, roles: new Set([deepArray()]) }],
  [
    "has a permission that is no text",
    { ...whole, permissions: new Set([{ toString: () => "order:read" }]) },
  ],
];

function answering(identity: unknown): Authenticator {
  return {
    name: "own",
    source: "metadata",
    headers: ["x-own"],
    presents: () => true,
    authenticate: () => identity,
  } as unknown as Authenticator;
}

describe("identities of own authenticators", () => {
  it.each(faulty)("A9 a principal that %s is our failure, and nobody's yes", async (_what, principal) => {
    const layer = authentication(answering({ principal }));
    expect(await outcomeOf(layer, incomingCall())).toBe("UNAVAILABLE temporarily unavailable");
  });

  it.each(faulty.filter(([, actor]) => actor !== undefined))(
    "A9 an actor that %s is our failure, and nobody's yes",
    async (_what, actor) => {
      const layer = authentication(answering({ principal: whole, actor }));
      expect(await outcomeOf(layer, incomingCall())).toBe("UNAVAILABLE temporarily unavailable");
    },
  );

  it("A9 what is whole is let in, with a tenant of null as without one", async () => {
    for (const principal of [
      whole,
      { ...whole, tenant: "acme", issuer: "https://id.example" },
      { ...whole, tenant: null },
    ])
      expect(await outcomeOf(authentication(answering({ principal })), incomingCall())).toBe("in");
    expect(() => checkPrincipal("principal", whole)).not.toThrow();
  });
});
