import { Buffer } from "node:buffer";
import { constants, createHmac, createSecretKey, generateKeyPairSync, sign } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ConfigError } from "../../../src/grpc/errors.ts";
import { type JwtOptions, jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import {
  type Alg,
  audience,
  claims,
  encode,
  issuer,
  nowSec,
  type SigningKey,
  signatureOf,
  signed,
  signingKey,
  token,
} from "./identity-provider.ts";
import { atOnce, bearer, incomingCall, verdict } from "./incoming-call.ts";

const rsa = signingKey("RS256", "rsa");
const ec = signingKey("ES256", "ec");
const pss = signingKey("PS256", "pss");
const stranger = signingKey("RS256", "rsa");

function ours(options: Partial<JwtOptions> = {}) {
  return jwt({ issuer, audience, keys: [rsa.jwk, ec.jwk, pss.jwk], ...options });
}

function rsaKey(size: { readonly modulusLength: number; readonly publicExponent?: number }): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", size);
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: "own", alg: "RS256" } as SigningKey["jwk"];
  return { ...signingKey("ES256", "own"), alg: "RS256", privateKey, publicKey, jwk };
}

afterEach(() => {
  vi.useRealTimers();
});

describe("jwt: good tokens", () => {
  it.each(["RS256", "PS256", "ES256", "ES384", "EdDSA"] as const satisfies Alg[])(
    "A1 accepts a token signed with %s",
    async (alg) => {
      const key = signingKey(alg);
      expect(await verdict(ours({ keys: key.jwk }), bearer(token(key)))).toBe("good: ada");
    },
  );

  it.each<[string, (key: SigningKey) => NonNullable<JwtOptions["keys"]>]>([
    ["a PEM text", (key) => key.publicKey.export({ type: "spki", format: "pem" }).toString()],
    ["a JWK", (key) => key.jwk],
    ["a KeyObject", (key) => key.publicKey],
    ["a JWK Set", (key) => ({ keys: [ec.jwk, key.jwk] })],
    ["a list of several kinds", (key) => [ec.publicKey, key.jwk, { keys: [ec.jwk] }]],
  ])("A2 takes the key as %s", async (_, give) => {
    expect(await verdict(ours({ keys: give(rsa) }), bearer(token(rsa)))).toBe("good: ada");
  });

  it("A9 gives the verified principal: subject, issuer, tenant, roles, permissions, claims, expiry", async () => {
    const exp = nowSec() + 300;
    const identity = await ours().authenticate(
      bearer(
        token(rsa, {
          exp,
          tenant: "acme",
          roles: ["admin"],
          permissions: "order:read  order:write",
          deep: { er: [1] },
        }),
      ),
    );
    const { principal } = identity;
    expect(principal).toMatchObject({
      subject: "ada",
      kind: "user",
      scheme: "jwt",
      issuer,
      tenant: "acme",
      expiresAt: exp * 1000,
    });
    expect([...principal.roles]).toEqual(["admin"]);
    expect([...principal.permissions]).toEqual(["order:read", "order:write"]);
    expect(identity.expiresAt).toBe((exp + 5) * 1000);
    expect(Object.isFrozen(principal)).toBe(true);
    expect(Object.isFrozen(principal.claims["deep"])).toBe(true);
  });

  it.each([["client_id"], ["azp"], ["cid"]])(
    "A9 a client that is its own subject (%s) is a service",
    async (claim) => {
      const { principal } = await ours().authenticate(
        bearer(token(rsa, { sub: "billing", [claim]: "billing" })),
      );
      expect(principal.kind).toBe("service");
    },
  );

  it("A9 finds claims by dotted paths, and by names that have dots", async () => {
    const authenticator = ours({
      claims: {
        subject: "user.id",
        roles: "realm_access.roles",
        permissions: "https://acme.example/permissions",
      },
    });
    const { principal } = await authenticator.authenticate(
      bearer(
        token(rsa, {
          user: { id: "u1" },
          realm_access: { roles: ["a"] },
          "https://acme.example/permissions": ["p"],
        }),
      ),
    );
    expect([principal.subject, ...principal.roles, ...principal.permissions]).toEqual(["u1", "a", "p"]);
  });

  it.each<[string, NonNullable<JwtOptions["claims"]>, Record<string, unknown>, string[], string[]]>([
    [
      "roles of several claims",
      { roles: ["roles", "realm_access.roles", "groups"] },
      { roles: ["a", "b"], realm_access: { roles: "b c" } },
      ["a", "b", "c"],
      [],
    ],
    [
      "a dot in a name within a path",
      { roles: "resource_access.my\\.app.roles" },
      { resource_access: { "my.app": { roles: ["a"] }, my: { app: { roles: ["x"] } } } },
      ["a"],
      [],
    ],
    ["a dot in a name on its own", { roles: "acme\\.roles" }, { "acme.roles": ["a"] }, ["a"], []],
    ["a backslash in a name", { roles: "a\\\\b.c" }, { "a\\b": { c: ["a"] } }, ["a"], []],
    ["no such claim", { roles: ["realm_access.roles", "x\\.y"] }, { x: { y: ["a"] } }, [], []],
    [
      "scope for permissions",
      { permissions: "scope" },
      { scope: "order:read order:write" },
      [],
      ["order:read", "order:write"],
    ],
    ["scp as an array", { permissions: "scp" }, { scp: ["order:read"] }, [], ["order:read"]],
    [
      "both spellings of scopes",
      { permissions: ["scope", "scp"] },
      { scp: "order:read", scope: "order:write" },
      [],
      ["order:write", "order:read"],
    ],
  ])("A9 finds %s", async (_, paths, extra, roles, permissions) => {
    const { principal } = await ours({ claims: paths }).authenticate(bearer(token(rsa, extra)));
    expect([...principal.roles]).toEqual(roles);
    expect([...principal.permissions]).toEqual(permissions);
  });

  it("A9 one claim of a list that has another shape makes the token invalid", async () => {
    const authenticator = ours({ claims: { roles: ["roles", "groups"] } });
    expect(await verdict(authenticator, bearer(token(rsa, { roles: ["a"], groups: { a: 1 } })))).toBe(
      "invalid",
    );
  });

  it.each([
    ["__proto__"],
    ["constructor"],
    ["constructor.name"],
    ["toString"],
    ["roles.length"],
    ["a.__proto__"],
  ])("A9 the claims path %s reaches no inherited property", async (path) => {
    const { principal } = await ours({ claims: { roles: path, tenant: path } }).authenticate(
      bearer(token(rsa, { roles: ["x"], a: {} })),
    );
    expect(principal.roles.size).toBe(0);
    expect(principal.tenant).toBeUndefined();
  });
});

describe("jwt: PSS signatures that begin with a zero", () => {
  /** One signature in 256 does; the salt makes each a new one. */
  function beginningWithZero(): { readonly input: string; readonly signature: Buffer } {
    const input = `${encode({ alg: "PS256", kid: "pss" })}.${encode(claims())}`;
    for (;;) {
      const signature = signatureOf(pss, input);
      if (signature[0] === 0) return { input, signature };
    }
  }

  it("A1 accepts one that is whole, and refuses it without its zero", async () => {
    const { input, signature } = beginningWithZero();
    expect(await verdict(ours(), bearer(`${input}.${encode(signature.subarray(1))}`))).toMatch(/^invalid/);
    expect(await verdict(ours(), bearer(`${input}.${encode(signature)}`))).toBe("good: ada");
  });

  it.each([2048, 2056, 3072, 4096])("A1 accepts a key of %i bits", async (modulusLength) => {
    const key = rsaKey({ modulusLength });
    expect(await verdict(ours({ keys: [key.jwk] }), bearer(token(key)))).toBe("good: ada");
  });
});

describe("jwt: attacks", () => {
  const pem = rsa.publicKey.export({ type: "spki", format: "pem" });
  const der = rsa.publicKey.export({ type: "spki", format: "der" });

  function hmac(secret: string | Buffer, alg = "HS256"): string {
    const input = `${encode({ alg, kid: rsa.kid, typ: "JWT" })}.${encode(claims())}`;
    const digest = alg === "HS256" ? "sha256" : "sha512";
    return `${input}.${encode(createHmac(digest, secret).update(input).digest())}`;
  }

  function parts(): [string, string, string] {
    const [header = "", payload = "", signature = ""] = token(rsa).split(".");
    return [header, payload, signature];
  }

  function withPayload(text: string): string {
    return signed(rsa, { alg: "RS256", kid: rsa.kid }, text);
  }

  const evilKey = signingKey("ES256", "evil");
  const attacks: readonly [string, () => string, ("invalid" | "unclaimed" | "expired")?][] = [
    [
      "alg none with an empty signature",
      () => `${encode({ alg: "none" })}.${encode(claims())}.`,
      "unclaimed",
    ],
    ["alg none with some signature", () => `${encode({ alg: "none" })}.${encode(claims())}.AAAA`],
    ["alg NoNe", () => `${encode({ alg: "NoNe" })}.${encode(claims())}.AAAA`],
    ["alg missing", () => signed(rsa, { kid: rsa.kid }, claims())],
    ["alg a number", () => signed(rsa, { alg: 256, kid: rsa.kid }, claims())],
    ["alg an array", () => signed(rsa, { alg: ["RS256"], kid: rsa.kid }, claims())],
    ["HS256 with the public key as PEM", () => hmac(pem.toString())],
    ["HS256 with the public key as DER", () => hmac(der)],
    ["HS256 with the public key as JWK", () => hmac(JSON.stringify(rsa.jwk))],
    ["HS256 with an empty secret", () => hmac("")],
    ["HS512 with the public key as PEM", () => hmac(pem.toString(), "HS512")],
    ["RS512, which is not on the list", () => signed(rsa, { alg: "RS512", kid: rsa.kid }, claims())],
    ["ES256 with the kid of an RSA key", () => token(ec, {}, { kid: rsa.kid })],
    ["RS256 with the kid of an EC key", () => token(rsa, {}, { kid: ec.kid })],
    ["PS256 claimed for an RS256 signature", () => token(rsa, {}, { alg: "PS256" })],
    ["a payload that was changed", () => `${parts()[0]}.${encode(claims({ sub: "root" }))}.${parts()[2]}`],
    [
      "a header that was changed",
      () => `${encode({ alg: "RS256", kid: rsa.kid, typ: "jwt" })}.${parts()[1]}.${parts()[2]}`,
    ],
    ["a signature that was changed", () => `${parts()[0]}.${parts()[1]}.${encode(Buffer.alloc(256, 7))}`],
    ["a signature cut short", () => `${parts()[0]}.${parts()[1]}.${parts()[2].slice(0, 100)}`],
    ["another issuer's key under the same kid", () => token(stranger)],
    ["an unknown kid", () => token(rsa, {}, { kid: "nobody" })],
    ["a kid with path traversal", () => token(rsa, {}, { kid: "../../dev/null" })],
    ["a kid that is no text", () => token(rsa, {}, { kid: 7 })],
    ["an own key in the header (jwk)", () => token(evilKey, {}, { kid: ec.kid, jwk: evilKey.jwk })],
    [
      "a key URL in the header (jku)",
      () => token(evilKey, {}, { kid: ec.kid, jku: "http://127.0.0.1:1/jwks" }),
    ],
    [
      "a certificate URL in the header (x5u)",
      () => token(evilKey, {}, { kid: ec.kid, x5u: "http://127.0.0.1:1/x5u" }),
    ],
    [
      "a certificate in the header (x5c)",
      () => token(evilKey, {}, { kid: ec.kid, x5c: [der.toString("base64")] }),
    ],
    ["a critical extension", () => token(rsa, {}, { crit: ["exp"] })],
    ["an empty list of critical extensions", () => token(rsa, {}, { crit: [] })],
    ["an unencoded payload (RFC 7797)", () => token(rsa, {}, { crit: ["b64"], b64: false })],
    ["a token made for another purpose", () => token(rsa, {}, { typ: "logout+jwt" })],
    ["a typ that is no text", () => token(rsa, {}, { typ: ["JWT"] })],
    ...([0, 20, 222] as const).map((saltLength): [string, () => string] => [
      `PS256 with a salt of ${saltLength} bytes (RFC 7518 section 3.5)`,
      () => {
        const input = `${encode({ alg: "PS256", kid: pss.kid })}.${encode(claims())}`;
        const padding = constants.RSA_PKCS1_PSS_PADDING;
        return `${input}.${encode(sign("sha256", Buffer.from(input), { key: pss.privateKey, padding, saltLength }))}`;
      },
    ]),
    ...(["sha1", "sha512"] as const).map((digest): [string, () => string] => [
      `RS256 over a ${digest} digest`,
      () => {
        const input = `${encode({ alg: "RS256", kid: rsa.kid })}.${encode(claims())}`;
        return `${input}.${encode(sign(digest, Buffer.from(input), rsa.privateKey))}`;
      },
    ]),
    ["RS256 without a signature's length", () => `${parts()[0]}.${parts()[1]}.AA`],
    [
      "a good ES256 signature in DER form",
      () => {
        const input = `${encode({ alg: "ES256", kid: ec.kid })}.${encode(claims())}`;
        return `${input}.${encode(sign("sha256", Buffer.from(input), ec.privateKey))}`;
      },
    ],
    [
      "ES256 with r and s zero",
      () => `${token(ec).split(".").slice(0, 2).join(".")}.${encode(Buffer.alloc(64))}`,
    ],
    [
      "ES256 in DER form",
      () => `${token(ec).split(".").slice(0, 2).join(".")}.${encode(Buffer.from("3006020101020101", "hex"))}`,
    ],
    [
      "ES256 with r and s the group order",
      () => {
        const order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        return `${token(ec).split(".").slice(0, 2).join(".")}.${encode(Buffer.from(order + order, "hex"))}`;
      },
    ],
    [
      "ES256 with a byte behind the signature",
      () => {
        const input = token(ec).split(".").slice(0, 2).join(".");
        return `${input}.${encode(Buffer.concat([signatureOf(ec, input), Buffer.alloc(1)]))}`;
      },
    ],
    ["another issuer", () => token(rsa, { iss: "https://evil.example" }), "unclaimed"],
    ["our issuer with a slash", () => token(rsa, { iss: `${issuer}/` }), "unclaimed"],
    ["our issuer in a list", () => token(rsa, { iss: [issuer] }), "unclaimed"],
    ["no issuer", () => token(rsa, { iss: undefined }), "unclaimed"],
    [
      "iss twice, the last one another's",
      () => withPayload(`{"iss":"${issuer}",${JSON.stringify(claims({ iss: "x" })).slice(1)}`),
      "unclaimed",
    ],
    ["another audience", () => token(rsa, { aud: "billing" })],
    ["no audience", () => token(rsa, { aud: undefined })],
    ["an empty list of audiences", () => token(rsa, { aud: [] })],
    ["an audience that is no text", () => token(rsa, { aud: [audience, 7] })],
    ["an audience in an object", () => token(rsa, { aud: { [audience]: true } })],
    ["no exp", () => token(rsa, { exp: undefined })],
    ["exp null", () => token(rsa, { exp: null })],
    ["exp as text", () => token(rsa, { exp: String(nowSec() + 300) })],
    [
      "exp NaN (not JSON)",
      () => withPayload(JSON.stringify(claims({ exp: 1 })).replace('"exp":1', '"exp":NaN')),
      "unclaimed",
    ],
    [
      "exp beyond all numbers",
      () => withPayload(JSON.stringify(claims({ exp: 1 })).replace('"exp":1', '"exp":1e400')),
    ],
    ["exp beyond all dates", () => token(rsa, { exp: 1e300 })],
    ["exp true", () => token(rsa, { exp: true })],
    ["exp zero", () => token(rsa, { exp: 0 }), "expired"],
    ["exp past", () => token(rsa, { exp: nowSec() - 60 }), "expired"],
    ["exp past, with a fraction", () => token(rsa, { exp: nowSec() - 60.5 }), "expired"],
    ["exp past in a token that nobody signed", () => token(stranger, { exp: nowSec() - 60 })],
    ["nbf to come", () => token(rsa, { nbf: nowSec() + 60 })],
    ["nbf as text", () => token(rsa, { nbf: "0" })],
    ["iat as text", () => token(rsa, { iat: "0" })],
    ["no sub", () => token(rsa, { sub: undefined })],
    ["sub empty", () => token(rsa, { sub: "" })],
    ["sub a number", () => token(rsa, { sub: 7 })],
    ["sub with half a surrogate pair", () => token(rsa, { sub: "ada\ud800" })],
    ["tenant an object", () => token(rsa, { tenant: { id: "acme" } })],
    ["roles an object", () => token(rsa, { roles: { admin: true } })],
    ["roles with a number in it", () => token(rsa, { roles: ["viewer", 1] })],
    ["permissions a number", () => token(rsa, { permissions: 1 })],
    [
      "a claim named __proto__",
      () => withPayload(JSON.stringify(claims({ a: 1 })).replace('"a":1', '"a":{"__proto__":{"b":1}}')),
    ],
    ["a token bound to a key", () => token(rsa, { cnf: { "x5t#S256": "abc" } })],
    ["a payload that is a list", () => withPayload("[1]"), "unclaimed"],
    ["a payload that is null", () => withPayload("null"), "unclaimed"],
    [
      "a payload that is not UTF-8",
      () => signed(rsa, { alg: "RS256" }, Buffer.from(JSON.stringify(claims({ sub: "ad\u00ff" })), "latin1")),
      "unclaimed",
    ],
    ["a header that is null", () => signed(rsa, "null", claims()), "unclaimed"],
    ["base64 with padding", () => `${parts()[0]}.${parts()[1]}.${parts()[2]}==`, "unclaimed"],
    ["a line break inside", () => `${parts()[0]}.${parts()[1]}. ${parts()[2]}`, "unclaimed"],
    ["a space behind", () => `${token(rsa)} `, "unclaimed"],
    ["standard base64 in place of base64url", () => `${parts()[0]}.${parts()[1]}.+/+/`, "unclaimed"],
    ["two parts", () => parts().slice(0, 2).join("."), "unclaimed"],
    ["four parts", () => `${token(rsa)}.AAAA`, "unclaimed"],
    ["five parts, as an encrypted token has", () => `${token(rsa)}.AAAA.AAAA`, "unclaimed"],
    ["only dots", () => "..", "unclaimed"],
    ["nothing", () => "", "unclaimed"],
    ["100 kB", () => token(rsa, { junk: "x".repeat(100_000) }), "unclaimed"],
  ];

  it.each(attacks)("A1 refuses %s", async (_, forge, expected = "invalid") => {
    const authenticator = ours();
    const forged = forge();
    expect(await verdict(authenticator, bearer(forged))).toBe(expected);
    expect(await verdict(authenticator, bearer(forged)), "the second time").toBe(expected);
    expect(await verdict(authenticator, bearer(token(rsa))), "a good token afterwards").toBe("good: ada");
  });

  it.each([
    ["whose key is one of several", () => [rsa.jwk, signingKey("RS256", "other").jwk], rsa],
    ["whose key has another exponent", undefined, rsaKey({ modulusLength: 2048, publicExponent: 65_539 })],
  ] as const)("A1 sees a forged RS256 signature %s, on another thread", async (_, keys, key) => {
    const authenticator = ours({ keys: keys?.() ?? [key.jwk] });
    const input = token(key, {}, { kid: undefined });
    const forged = `${input.slice(0, -20)}${"A".repeat(20)}`;
    expect(await verdict(authenticator, bearer(forged))).toBe("invalid");
    const verified = authenticator.authenticate(bearer(input));
    expect(verified).toBeInstanceOf(Promise);
    expect((await verified).principal.subject).toBe("ada");
  });

  it("A1 the last bit pattern of a signature has one spelling", async () => {
    const [header, payload, signature] = parts();
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const last = alphabet.indexOf(signature.slice(-1));
    const other = `${header}.${payload}.${signature.slice(0, -1)}${alphabet[last ^ 1]}`;
    expect(Buffer.from(other.split(".")[2] ?? "", "base64url")).toEqual(Buffer.from(signature, "base64url"));
    expect(await verdict(ours(), bearer(other))).toBe("unclaimed");
  });

  it("A1 a token of another issuer is not verified even where authenticate is called", async () => {
    const call = bearer(token(rsa, { iss: "https://evil.example" }));
    await expect(async () => ours().authenticate(call)).rejects.toMatchObject({ problem: "invalid" });
  });

  it("A11 the reason never shows the token", async () => {
    const forged = token(stranger);
    const refused = async (): Promise<unknown> => ours().authenticate(bearer(forged));
    const error = await refused().catch((e: unknown) => e);
    const shown = JSON.stringify(error, Object.getOwnPropertyNames(error));
    for (const part of forged.split(".")) expect(shown).not.toContain(part);
  });

  it.each([
    ["Bearer", "good: ada"],
    ["bearer", "good: ada"],
    ["BEARER", "good: ada"],
    ["Bearer ", "good: ada"],
    ["Basic", "unclaimed"],
    ["DPoP", "unclaimed"],
    ["BearerX", "unclaimed"],
    [" Bearer", "unclaimed"],
    ["Bearer,", "unclaimed"],
  ])("A1 reads the scheme '%s' as RFC 9110 says", async (scheme, expected) => {
    expect(await verdict(ours(), incomingCall({ authorization: `${scheme} ${token(rsa)}` }))).toBe(expected);
  });

  it("A1 does not present for two authorization values", async () => {
    const good = `Bearer ${token(rsa)}`;
    expect(await verdict(ours(), incomingCall({ authorization: [good, good] }))).toBe("unclaimed");
  });
});

describe("jwt: options", () => {
  it.each<[string, Partial<JwtOptions>, Record<string, unknown>, Record<string, unknown>, string]>([
    ["an algorithm that was not chosen", { algorithms: ["ES256"] }, {}, {}, "invalid"],
    [
      "one of several audiences",
      { audience: ["billing", audience] },
      { aud: ["x", audience] },
      {},
      "good: ada",
    ],
    ["the typ asked for", { typ: "at+jwt" }, {}, { typ: "AT+JWT" }, "good: ada"],
    ["the typ asked for, in full", { typ: "at+jwt" }, {}, { typ: "application/at+jwt" }, "good: ada"],
    ["another typ", { typ: "at+jwt" }, {}, { typ: "JWT" }, "invalid"],
    ["no typ where one is asked for", { typ: "at+jwt" }, {}, { typ: undefined }, "invalid"],
    ["no typ where none is asked for", {}, {}, { typ: undefined }, "good: ada"],
    ["a required claim", { requiredClaims: ["acr", "a.b"] }, { acr: "1", a: { b: 0 } }, {}, "good: ada"],
    ["a required claim missing", { requiredClaims: ["acr"] }, {}, {}, "invalid"],
    ["a required claim null", { requiredClaims: ["acr"] }, { acr: null }, {}, "invalid"],
    ["a required claim that only the prototype has", { requiredClaims: ["constructor"] }, {}, {}, "invalid"],
    ["age within the limit", { maxTokenAgeSec: 86_400 }, { iat: nowSec() - 30 }, {}, "good: ada"],
    ["age over the limit", { maxTokenAgeSec: 86_400 }, { iat: nowSec() - 90_000 }, {}, "expired"],
    ["age limited, no iat", { maxTokenAgeSec: 60 }, {}, {}, "invalid"],
    ["age limited, issued in the future", { maxTokenAgeSec: 60 }, { iat: nowSec() + 86_400 }, {}, "invalid"],
    ["exp with a fraction", {}, { exp: nowSec() + 86_400.25 }, {}, "good: ada"],
  ])("A1 %s", async (_, options, extra, header, expected) => {
    expect(await verdict(ours(options), bearer(token(rsa, extra, header)))).toBe(expected);
  });

  it.each([
    ["expires within the tolerance", { exp: 996 }, "good: ada"],
    ["expires at its edge", { exp: 995 }, "expired"],
    ["expires just inside its edge", { exp: 995.001 }, "good: ada"],
    ["begins within the tolerance", { nbf: 1005 }, "good: ada"],
    ["begins just outside of it", { nbf: 1005.001 }, "invalid"],
  ])("A1 the clock tolerance of 5 s: a token that %s", async (_, extra, expected) => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
    expect(await verdict(ours(), bearer(token(rsa, extra)))).toBe(expected);
  });

  const pem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString();
  const small = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey;
  it.each<[string, Record<string, unknown>, string]>([
    ["keys and a URL", { jwksUri: "https://id.example/jwks" }, "jwt.keys"],
    ["an unknown option", { isRevokd: true }, "jwt.isRevokd: unknown option"],
    ["an option that is not there yet", { discovery: true }, "jwt.discovery: unknown option"],
    ["an empty issuer", { issuer: "" }, "jwt.issuer"],
    ["no audience", { audience: [] }, "jwt.audience"],
    ["alg none", { algorithms: ["none"] }, "jwt.algorithms.0"],
    ["alg HS256", { algorithms: ["RS256", "HS256"] }, "jwt.algorithms.1"],
    ["no algorithm", { algorithms: [] }, "jwt.algorithms"],
    ["a negative tolerance", { clockToleranceSec: -1 }, "jwt.clockToleranceSec"],
    ["a tolerance of hours", { clockToleranceSec: 7200 }, "jwt.clockToleranceSec"],
    ["an unknown claims option", { claims: { role: "x" } }, "jwt.claims.role: unknown option"],
    ["a cache without entries", { cache: { maxEntries: 0 } }, "jwt.cache.maxEntries"],
    ["an empty list of keys", { keys: [] }, "jwt.keys"],
    ["a path instead of a key", { keys: "/etc/jwt.pem" }, "jwt.keys: is not PEM"],
    ["two PEM blocks", { keys: pem + pem }, "jwt.keys: holds several"],
    [
      "a secret KeyObject",
      { keys: [rsa.jwk, createSecretKey(Buffer.alloc(32))] },
      "jwt.keys.1: is a symmetric key",
    ],
    ["a symmetric JWK", { keys: { kty: "oct", k: "AAAA" } }, "jwt.keys: is a symmetric key"],
    [
      "a symmetric JWK in a set",
      { keys: { keys: [rsa.jwk, { kty: "oct", k: "AAAA" }] } },
      "jwt.keys: is a symmetric key",
    ],
    ["a private KeyObject", { keys: rsa.privateKey }, "jwt.keys: holds a private key"],
    ["a private JWK", { keys: rsa.privateKey.export({ format: "jwk" }) }, "jwt.keys: holds a private key"],
    [
      "a private PEM",
      { keys: rsa.privateKey.export({ type: "pkcs8", format: "pem" }).toString() },
      "jwt.keys: holds a private key",
    ],
    ["a small RSA key", { keys: small }, "jwt.keys: is an RSA key of less"],
    ["a JWK for encryption", { keys: { ...rsa.jwk, use: "enc" } }, "jwt.keys: is not for signatures"],
    [
      "a JWK of another algorithm",
      { keys: { ...rsa.jwk, alg: "RSA-OAEP" } },
      "jwt.keys: is for another algorithm",
    ],
    [
      "a JWK that may not verify",
      { keys: { ...rsa.jwk, key_ops: ["encrypt"] } },
      "jwt.keys: is not for verifying",
    ],
    ["a number as key", { keys: 7 }, "jwt.keys: is neither"],
    [
      "a URL without TLS",
      { keys: undefined, jwksUri: "http://id.example/jwks" },
      "jwt.jwksUri: expected https",
    ],
    [
      "a host that only looks like loopback",
      { keys: undefined, jwksUri: "http://127.0.0.1.evil.example/" },
      "jwt.jwksUri: expected https",
    ],
    [
      "a URL with a password",
      { keys: undefined, jwksUri: "https://a:b@id.example/" },
      "jwt.jwksUri: expected a URL without",
    ],
    ["a file URL", { keys: undefined, jwksUri: "file:///jwks.json" }, "jwt.jwksUri: expected https"],
    [
      "a time of outage for keys that are given",
      { maxStaleSec: 3600 },
      "jwt.maxStaleSec: applies only to keys that are fetched",
    ],
    [
      "no time of outage",
      { keys: undefined, jwksUri: "https://id.example/", maxStaleSec: 0 },
      "jwt.maxStaleSec",
    ],
    [
      "an endless outage",
      { keys: undefined, jwksUri: "https://id.example/", maxStaleSec: 1e9 },
      "jwt.maxStaleSec",
    ],
    ["no URL", { keys: undefined, jwksUri: "jwks" }, "jwt.jwksUri: expected an absolute"],
    [
      "no audience at all",
      { audience: undefined },
      'jwt.audience: expected the name of this service, as it stands in the claim aud of its tokens, such as audience: "orders"; it is missing',
    ],
    ["an audience that is a number", { audience: 7 }, "jwt.audience: expected string or array"],
    [
      "a shared secret",
      { keys: undefined, secret: "s3cret" },
      "jwt.secret: not accepted: shared secrets (HMAC) are never accepted, because whoever verifies with a shared secret can " +
        "also sign with it; give the issuer's public keys as keys, or its jwksUri",
    ],
    [
      "HS256",
      { algorithms: ["HS256"] },
      "jwt.algorithms.0: HMAC (HS256, HS384, HS512) is never accepted, because whoever verifies with a shared secret can also " +
        "sign with it; sign with a private key, and give the public ones as keys or jwksUri",
    ],
    ["an unknown algorithm", { algorithms: ["RS257"] }, 'jwt.algorithms.0: expected one of "RS256"'],
    [
      "a backslash before a letter",
      { claims: { roles: "a\\b" } },
      "jwt.claims.roles: a backslash stands before a dot",
    ],
    [
      "a backslash at the end",
      { requiredClaims: ["a\\"] },
      "jwt.requiredClaims.0: a backslash stands before a dot",
    ],
    ["an empty list of claims", { claims: { roles: [] } }, "jwt.claims.roles: expected at least one claim"],
  ])("A1 refuses at start: %s", (_, options, message) => {
    const make = () => jwt(Object.assign({ issuer, audience, keys: rsa.jwk }, options));
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(message);
  });
});

describe("jwt: the token cache", () => {
  it("A1 a token seen before is answered without a promise, with the same identity", async () => {
    const authenticator = ours();
    const text = token(rsa);
    const first = await authenticator.authenticate(bearer(text));
    expect(authenticator.presents(bearer(text))).toBe(true);
    expect(atOnce(authenticator, bearer(text))).toBe(first);
  });

  it("A1 a token that was good when it was cached is refused once it has expired", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
    const authenticator = ours();
    const text = token(rsa, { exp: 1010 });
    expect(await verdict(authenticator, bearer(text))).toBe("good: ada");
    vi.setSystemTime(1_014_999);
    expect(atOnce(authenticator, bearer(text)).principal.subject).toBe("ada");
    vi.setSystemTime(1_015_000);
    expect(() => atOnce(authenticator, bearer(text))).toThrow(
      expect.objectContaining({ problem: "expired" }),
    );
  });

  it("A1 a clock that is set back makes a cached token not valid yet", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
    const authenticator = ours();
    const text = token(rsa, { nbf: 1000 });
    expect(await verdict(authenticator, bearer(text))).toBe("good: ada");
    vi.setSystemTime(994_000);
    expect(() => atOnce(authenticator, bearer(text))).toThrow(
      expect.objectContaining({ problem: "invalid" }),
    );
  });

  it("A1 a cached entry older than maxAgeSec is verified anew", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const authenticator = ours({ cache: { maxAgeSec: 10 } });
    const text = token(ec);
    await authenticator.authenticate(bearer(text));
    vi.advanceTimersByTime(9_999);
    atOnce(authenticator, bearer(text));
    vi.advanceTimersByTime(1);
    const again = authenticator.authenticate(bearer(text));
    expect(again).toBeInstanceOf(Promise);
    expect((await again).principal.subject).toBe("ada");
  });

  it("L10 the cache holds maxEntries tokens and forgets the one used longest ago", async () => {
    const authenticator = ours({ cache: { maxEntries: 2 } });
    const [a, b, c] = [token(ec, { jti: "a" }), token(ec, { jti: "b" }), token(ec, { jti: "c" })];
    await authenticator.authenticate(bearer(a));
    await authenticator.authenticate(bearer(b));
    atOnce(authenticator, bearer(a));
    await authenticator.authenticate(bearer(c));
    atOnce(authenticator, bearer(a));
    atOnce(authenticator, bearer(c));
    expect(await verdict(authenticator, bearer(b))).toBe("good: ada");
    expect(() => atOnce(authenticator, bearer(a))).toThrow("without a promise");
  });

  it("A1 a token cached by one authenticator is not good for another with other rules", async () => {
    const text = token(rsa);
    await ours().authenticate(bearer(text));
    expect(await verdict(ours({ audience: "billing" }), bearer(text))).toBe("invalid");
  });

  it("A1 calls that bring one token at once share one verification and one identity", async () => {
    const authenticator = ours();
    const text = token(rsa);
    const [a, b] = await Promise.all([
      authenticator.authenticate(bearer(text)),
      authenticator.authenticate(bearer(text)),
    ]);
    expect(a).toBe(b);
  });
});
