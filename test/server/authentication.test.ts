// Who calls, over real connections: forged tokens, keys that rotate, API keys, combinations, probes, public methods; and
// what the caller and the log learn of it.

import { Buffer } from "node:buffer";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type Client, Metadata, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requirePrincipal, securityContext } from "../../src/chain/current-context.ts";
import type { Principal } from "../../src/chain/principal.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey, memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import type { PeerOptions } from "../../src/server/forwarded-peer.ts";
import { createTokenIssuer, type TokenIssuer } from "../../src/testing/token-issuer.ts";
import { check, list, watch } from "../harness/health.ts";
import { goodHandlers, invoke, kinds, type Note, paths, type Result } from "../harness/kinds.ts";
import {
  eventually,
  type Secured,
  type SecuredOptions,
  secured,
  theWorld,
  type World,
} from "../harness/secured.ts";
import { inTime, withTimeEnough } from "../harness/time.ts";
import { fixedHeaders, forgeHeaders, openWire } from "../harness/wire.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

/** Bad credentials by the dozen, of one peer: `login-attacks.test.ts` shows what becomes of them otherwise. */
const unthrottled = { failedAuthentication: false } as const;

const nowSec = (): number => Math.floor(Date.now() / 1000);

function encode(value: object | string): string {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
}

function claims(extra: object = {}): object {
  return {
    iss: world.issuer.issuer,
    aud: "kinds",
    sub: "ada",
    roles: ["caller"],
    exp: nowSec() + 300,
    ...extra,
  };
}

function told({ name, details }: Result): string {
  return `${name} ${details}`;
}

/** What every test below relies on: nothing of a credential is written anywhere. */
async function expectNowhere(wall: Secured, ...secrets: readonly string[]): Promise<void> {
  const calls = wall.lines.filter((line) => line["grpc_code"] !== undefined).length;
  expect(calls).toBeGreaterThan(0);
  await wall.auditEntry(() => wall.audit.length >= calls);
  const written = JSON.stringify([wall.lines, wall.audit]);
  for (const secret of secrets) {
    expect(secret.length).toBeGreaterThan(8);
    expect(written).not.toContain(secret);
    // Nor its signature or its payload alone.
    for (const part of secret.split(".")) if (part.length > 16) expect(written).not.toContain(part);
  }
}

let callers = 0;
/** Another caller behind a proxy: what one is refused again and again is counted together, and has no line. */
function another(): { readonly "x-forwarded-for": string } {
  callers += 1;
  return { "x-forwarded-for": `10.0.${callers >> 8}.${callers & 255}` };
}
const behindProxy: PeerOptions = {
  trustedProxies: ["127.0.0.0/8", "::1"],
  addressFrom: "x-forwarded-for",
};

describe("A1 forged and unfit tokens", () => {
  /** Rows are made late: they need the issuer's keys. */
  const forgeries: Readonly<Record<string, () => string | Promise<string>>> = {
    "unsigned (alg none)": () => `${encode({ alg: "none" })}.${encode(claims())}.`,
    "unsigned (alg NONE, with a signature of nothing)": () =>
      `${encode({ alg: "NONE", typ: "JWT" })}.${encode(claims())}.${encode("nothing")}`,
    "HS256 with the public key as the secret": async () => {
      const pem = await world.issuer.publicKeyPem("RS256");
      const input = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims())}`;
      return `${input}.${createHmac("sha256", pem).update(input).digest("base64url")}`;
    },
    "signed with a key of the attacker under the issuer's key id": () => ownKey({ kid: keyId("ES256") }),
    "signed with a key of the attacker under no key id": () => ownKey({}),
    "signed with a key that it brings itself (jwk)": () => ownKey({ kid: "mine" }, true),
    "signed with a key that it points to (jku)": () =>
      ownKey({ kid: "mine", jku: "https://attacker.example/jwks" }),
    "with a critical extension": async () => {
      const token = await world.issuer.sign(claims() as Record<string, unknown>, {
        header: { "example.com/ext": true },
      });
      const [header = "", payload = "", signature = ""] = token.split(".");
      const open = JSON.parse(Buffer.from(header, "base64url").toString()) as object;
      return `${encode({ ...open, crit: ["example.com/ext"] })}.${payload}.${signature}`;
    },
    "whose payload was changed": async () => {
      const token = await world.token({ roles: [] });
      const [header = "", , signature = ""] = token.split(".");
      return `${header}.${encode(claims({ sub: "root" }))}.${signature}`;
    },
    "whose algorithm was changed": async () => {
      const token = await world.token();
      const [, payload = "", signature = ""] = token.split(".");
      return `${encode({ alg: "RS256", typ: "JWT", kid: keyId("ES256") })}.${payload}.${signature}`;
    },
    "without its signature": async () => (await world.token()).split(".").slice(0, 2).join("."),
    "with an empty signature": async () => `${(await world.token()).split(".").slice(0, 2).join(".")}.`,
    "with more parts": async () => `${await world.token()}.more`,
    "of another issuer": () => world.token({ iss: "https://attacker.example" }),
    "of an issuer that only looks alike": () => world.token({ iss: `${world.issuer.issuer}/` }),
    "for another audience": () => world.token({ aud: "billing" }),
    "for no audience": () => world.token({ aud: undefined }),
    "that never expires": () => world.token({ exp: undefined }),
    "whose expiry is no number": () => world.token({ exp: "tomorrow" }),
    "not valid yet": () => world.token({ nbf: nowSec() + 60 }),
    "about nobody": () => world.token({ sub: undefined }),
    "about the empty subject": () => world.token({ sub: "" }),
    "for logging out": () => world.issuer.sign(claims() as Record<string, unknown>, { typ: "logout+jwt" }),
    "bound to a key": () => world.token({ cnf: { "x5t#S256": "AAAA" } }),
    "that is no token": () => "nonsense",
    "that is far too long": () => `eyJhbGciOiJFUzI1NiJ9.${"A".repeat(4000)}.AAAA`,
  };

  function keyId(alg: string): string | undefined {
    return world.issuer.jwks().keys.find((key) => key.alg === alg)?.kid;
  }

  function ownKey(header: object, embed = false): string {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = embed ? { jwk: publicKey.export({ format: "jwk" }) } : {};
    const input = `${encode({ alg: "ES256", typ: "JWT", ...header, ...jwk })}.${encode(claims())}`;
    const signature = sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" });
    return `${input}.${signature.toString("base64url")}`;
  }

  const tried: string[] = [];
  const walls: Secured[] = [];
  let wall: Secured;
  afterAll(() => Promise.all(walls.map((each) => each.close())));

  describe.each(kinds)("on a %s call", (kind) => {
    beforeAll(async () => {
      // One server for many calls, and one of them comes again and again: their number is not what is tested here. One for
      // each kind, because the issuer is not asked about unknown keys as often as all of them name one.
      wall = await secured({
        rateLimit: { ...unthrottled, perPeer: false, perPrincipal: false },
        peer: behindProxy,
      });
      walls.push(wall);
    });

    it.each(Object.keys(forgeries))("A1 A11 refuses a token %s as invalid", async (what) => {
      const token = (await forgeries[what]?.()) ?? "";
      const started = wall.started.length;
      const metadata = { authorization: `Bearer ${token}`, ...another() };
      const result = await invoke(wall.client(), kind, { metadata });
      expect(told(result)).toBe("UNAUTHENTICATED invalid credentials");
      expect(result.messages).toEqual([]);
      expect(wall.started).toHaveLength(started);
      if (token.length > 16) tried.push(token);
    });

    it.each([
      ["no scheme", (token: string) => token],
      ["another scheme", (token: string) => `Basic ${token}`],
      ["an unknown scheme", (token: string) => `Magic ${token}`],
      ["a comma and a second token", (token: string) => `Bearer ${token}, Bearer ${token}`],
      ["nothing behind its scheme", () => "Bearer"],
    ])("A1 A6 refuses a good token with %s", async (_what, value) => {
      const result = await invoke(wall.client(), kind, {
        metadata: { authorization: value(await world.token()), ...another() },
      });
      expect(told(result)).toBe("UNAUTHENTICATED invalid credentials");
    });

    it.each(["Bearer", "bearer", "BEARER"])(
      "A1 accepts a good token as %s (RFC 9110: in any case)",
      async (scheme) => {
        const metadata = { authorization: `${scheme} ${await world.token()}` };
        expect(await invoke(wall.client(), kind, { metadata })).toMatchObject({ name: "OK" });
      },
    );

    it("A1 refuses an expired token as expired, and accepts one within the clock tolerance", async () => {
      const late = { authorization: `Bearer ${await world.token({ exp: nowSec() - 6 })}` };
      expect(told(await invoke(wall.client(), kind, { metadata: late }))).toBe(
        "UNAUTHENTICATED expired credentials",
      );
      const close = { authorization: `Bearer ${await world.token({ exp: nowSec() - 1 })}` };
      expect(await invoke(wall.client(), kind, { metadata: close })).toMatchObject({ name: "OK" });
    });

    it("A1 refuses a token that expired since it was verified, and its forgery while it is cached", async () => {
      const client = wall.client();
      await invoke(client, kind);
      await withTimeEnough(1_500, async (lastingMs) => {
        // The clock tolerance is five seconds.
        const exp = (Date.now() + lastingMs) / 1000 - 5;
        const token = await world.token({ exp, jti: `${kind}-cached` });
        const metadata = { authorization: `Bearer ${token}` };
        const first = await invoke(client, kind, { metadata });
        if (Date.now() > (exp + 5) * 1000) return false;
        expect(first).toMatchObject({ name: "OK" });
        const forged = { authorization: `Bearer ${token.slice(0, -4)}AAAA` };
        expect(told(await invoke(client, kind, { metadata: forged }))).toBe(
          "UNAUTHENTICATED invalid credentials",
        );
        // Asked again until its last second is over; the cache must not keep it alive.
        while ((exp + 5) * 1000 >= Date.now()) await invoke(client, kind, { metadata });
        expect(told(await invoke(client, kind, { metadata }))).toBe("UNAUTHENTICATED expired credentials");
        return true;
      });
    });
  });

  it("A11 none of these tokens is written in a log line or an audit entry", async () => {
    expect(tried.length).toBeGreaterThan(80);
    for (const each of walls) await expectNowhere(each, ...tried);
  });

  it("A11 the audience that is named is bounded, and shows nothing that a terminal obeys", async () => {
    const aud = ["\u009b31m", ...Array.from({ length: 100 }, (_, n) => `billing-${n}`)];
    await invoke(wall.client(), "unary", {
      metadata: {
        authorization: `Bearer ${await world.token({ aud })}`,
        "x-request-id": "why-2",
        ...another(),
      },
    });
    const { err } = await wall.callLine((each) => each["request_id"] === "why-2");
    const { message } = err as { readonly message: string };
    expect(message).toMatch(/^the token's audience \(aud\) is \["\ufffd31m","billing-0",.+…, not "kinds"$/);
    expect(message.length).toBeLessThan(200);
  });

  it("A11 every audience that would do is named", async () => {
    await using several = await secured({
      authentication: jwt({
        issuer: world.issuer.issuer,
        audience: ["orders", "orders-v2"],
        jwksUri: world.issuer.jwksUri,
      }),
    });
    await invoke(several.client(), "unary", { metadata: await several.authorized() });
    expect((await several.callLine(() => true))["err"]).toMatchObject({
      message: 'the token\'s audience (aud) is "kinds", not "orders", "orders-v2"',
    });
  });

  it("A11 none of the reasons lost a word to the redaction", () => {
    const reasons = new Set(
      wall.lines.flatMap(({ err }) =>
        err === undefined ? [] : [(err as { readonly message: string }).message],
      ),
    );
    expect([...reasons]).toContain(
      "no authenticator recognizes the credential in authorization, because the token is not a signed JSON Web Token",
    );
    expect([...reasons].filter((reason) => reason.includes("[redacted]"))).toEqual([]);
  });

  it("A11 the reason of a refusal is in the log, at `warn`, and not in the answer", async () => {
    const result = await invoke(wall.client(), "unary", {
      metadata: {
        authorization: `Bearer ${await world.token({ aud: "billing" })}`,
        "x-request-id": "why-1",
        ...another(),
      },
    });
    expect(told(result)).toBe("UNAUTHENTICATED invalid credentials");
    const line = await wall.callLine((each) => each["request_id"] === "why-1");
    expect(line).toMatchObject({
      level: 40,
      layer: "authentication",
      grpc_code: "UNAUTHENTICATED",
      principal: null,
      err: { type: "CredentialError", message: 'the token\'s audience (aud) is "billing", not "kinds"' },
    });
    const entry = await wall.auditEntry(({ id }) => id === line["call_id"]);
    expect(entry).toMatchObject({ decision: "deny", rule: "authentication", caller: null });
  });
});

describe("A1 the algorithms", () => {
  let issuer: TokenIssuer;
  let wall: Secured;
  beforeAll(async () => {
    issuer = await createTokenIssuer({ audience: "kinds" });
    wall = await secured({
      authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
    });
  });
  afterAll(async () => {
    await wall.close();
    await issuer.close();
  });

  it.each(["RS256", "PS256", "ES256", "ES384", "EdDSA"] as const)("A1 accepts %s", async (alg) => {
    const token = await issuer.sign({ roles: ["caller"] }, { alg });
    const metadata = { authorization: `Bearer ${token}` };
    expect(await invoke(wall.client(), "unary", { metadata })).toMatchObject({ name: "OK" });
  });
});

describe("A1 the tokens of one connection", () => {
  it("are told apart, whatever came before on it", async () => {
    await using wall = await secured();
    const client = wall.client();
    const call = async (metadata: { readonly authorization: string }): Promise<string> => {
      const requestId = `r-${callCount++}`;
      const { name } = await invoke(client, "unary", {
        metadata: { ...metadata, "x-request-id": requestId },
      });
      const { principal } = await wall.callLine((line) => line["request_id"] === requestId);
      return `${name} ${String(principal)}`;
    };
    let callCount = 0;
    const ada = await wall.authorized({ sub: "ada" });
    const bob = await wall.authorized({ sub: "bob" });
    // Its tenth character from the end: the last ones of a signature may carry bits that mean nothing.
    const at = ada.authorization.length - 10;
    const other = ada.authorization.charAt(at) === "A" ? "B" : "A";
    const forged = {
      authorization: `${ada.authorization.slice(0, at)}${other}${ada.authorization.slice(at + 1)}`,
    };
    // What came twice is what the next one is compared with.
    expect(await call(ada)).toBe("OK ada");
    expect(await call(ada)).toBe("OK ada");
    expect(await call(bob)).toBe("OK bob");
    expect(await call(ada)).toBe("OK ada");
    expect(await call(ada)).toBe("OK ada");
    expect(await call(forged)).toBe("UNAUTHENTICATED null");
    expect(await call(ada)).toBe("OK ada");
    expect(await call(ada)).toBe("OK ada");
    expect(await call({ authorization: ada.authorization.slice(0, -1) })).toBe("UNAUTHENTICATED null");
    expect(await call(bob)).toBe("OK bob");
  });
});

describe("A1 several issuers", () => {
  it.each(kinds)("A1 a key is only tried for its own issuer, on a %s call", async (kind) => {
    await using first = await createTokenIssuer({ audience: "kinds", algorithms: ["ES256"] });
    await using second = await createTokenIssuer({ audience: "kinds", algorithms: ["ES256"] });
    const by = ({ issuer, jwksUri }: TokenIssuer) => jwt({ issuer, audience: "kinds", jwksUri });
    await using wall = await secured({ authentication: anyOf(by(first), by(second)) });
    const call = async (token: string): Promise<string> =>
      told(await invoke(wall.client(), kind, { metadata: { authorization: `Bearer ${token}` } }));
    expect(await call(await first.sign({ roles: ["caller"] }))).toBe("OK OK");
    expect(await call(await second.sign({ roles: ["caller"] }))).toBe("OK OK");
    expect(await call(await second.sign({ roles: ["caller"], iss: first.issuer }))).toBe(
      "UNAUTHENTICATED invalid credentials",
    );
    expect(await call(await second.sign({ roles: ["caller"], iss: "https://third.example" }))).toBe(
      "UNAUTHENTICATED invalid credentials",
    );
  });
});

describe("A2 keys from a JWKS URL", () => {
  async function withIssuer(test: (issuer: TokenIssuer, wall: Secured) => Promise<void>): Promise<void> {
    await using issuer = await createTokenIssuer({ audience: "kinds", algorithms: ["ES256"] });
    await using wall = await secured({
      authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
      rateLimit: unthrottled,
    });
    await test(issuer, wall);
  }

  async function call(wall: Secured, kind: MethodKind, token: string): Promise<string> {
    return told(await invoke(wall.client(), kind, { metadata: { authorization: `Bearer ${token}` } }));
  }

  it.each(kinds)(
    "A2 a %s call with a token of a new key is let in, one of a key that is gone is not",
    async (kind) => {
      await withIssuer(async (issuer, wall) => {
        const old = await issuer.sign({ roles: ["caller"] });
        expect(await call(wall, kind, old)).toBe("OK OK");
        await issuer.rotate();
        expect(await call(wall, kind, await issuer.sign({ roles: ["caller"] }))).toBe("OK OK");
        // The same token, cached a moment ago: its key is not the issuer's any more.
        expect(await call(wall, kind, old)).toBe("UNAUTHENTICATED invalid credentials");
      });
    },
  );

  it.each(["unavailable", "garbage", "disconnect"] as const)(
    "A2 fails closed while no keys were ever fetched (%s), and recovers",
    async (behaviour) => {
      await withIssuer(async (issuer, wall) => {
        issuer.behave(behaviour);
        const token = await issuer.sign({ roles: ["caller"] });
        expect(await call(wall, "unary", token)).toBe("UNAVAILABLE temporarily unavailable");
        issuer.behave("up");
        let last = "";
        const until = inTime();
        while (last !== "OK OK" && Date.now() < until) last = await call(wall, "unary", token);
        expect(last).toBe("OK OK");
        expect(wall.lines.some(({ msg }) => msg?.includes("keys could not be fetched") === true)).toBe(true);
        await expectNowhere(wall, token);
      });
    },
  );

  it("A2 survives an outage: tokens of known keys are still let in, cached or not", async () => {
    await withIssuer(async (issuer, wall) => {
      expect(await call(wall, "unary", await issuer.sign({ roles: ["caller"] }))).toBe("OK OK");
      issuer.behave("unavailable");
      for (const kind of kinds) {
        expect(await call(wall, kind, await issuer.sign({ roles: ["caller"], jti: kind }))).toBe("OK OK");
      }
    });
  });

  it("A2 a provider that does not answer ends in UNAVAILABLE, not in a wait", async () => {
    await using issuer = await createTokenIssuer({ audience: "kinds", algorithms: ["ES256"] });
    await using wall = await secured({
      authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
      deadline: { checkTimeoutMs: 100 },
    });
    issuer.behave("hang");
    for (const kind of kinds) {
      expect(await call(wall, kind, await issuer.sign({ roles: ["caller"] }))).toBe(
        "UNAVAILABLE temporarily unavailable",
      );
    }
    expect(wall.started).toEqual([]);
    issuer.behave("up");
  });

  it.each<readonly [string, (socket: Socket) => void, string, unknown]>([
    [
      "hangs up",
      (socket) => socket.destroy(),
      "the issuer's keys could not be fetched",
      expect.objectContaining({ type: "Error", code: "ECONNRESET" }),
    ],
    [
      "answers with what is no JSON",
      (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\npassword=hunter2secret"),
      "the issuer's keys could not be fetched",
      expect.objectContaining({ type: "SyntaxError" }),
    ],
    [
      "has keys of no use",
      (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"keys":[{"kty":"oct"}]}'),
      "unusable keys of the issuer's JWK Set are ignored",
      undefined,
    ],
  ])(
    "U4 the log names the place of a provider that %s, without its query",
    async (_what, answer, msg, err) => {
      const provider = createServer((socket) => {
        socket.on("error", () => {}).once("data", () => answer(socket));
      }).listen(0, "127.0.0.1");
      await once(provider, "listening");
      const place = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/jwks`;
      const { issuer } = world.issuer;
      await using wall = await secured({
        authentication: jwt({ issuer, audience: "kinds", jwksUri: `${place}?client_secret=s3cr3t` }),
      });
      await call(wall, "unary", await world.token());
      const line = await eventually(() => wall.lines.find((each) => each.msg?.startsWith(msg)), "a line");
      expect(line["jwks"]).toBe(place);
      expect(line["err"]).toEqual(err);
      expect(JSON.stringify([wall.lines, wall.audit])).not.toMatch(/s3cr3t|hunter2secret/);
      provider.close();
    },
  );

  it("A2 a flood of made-up key ids costs the provider five requests at most", async () => {
    await withIssuer(async (issuer, wall) => {
      expect(await call(wall, "unary", await issuer.sign({ roles: ["caller"] }))).toBe("OK OK");
      const before = issuer.jwksRequests;
      const client = wall.client();
      await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          const token = await issuer.sign({ roles: ["caller"] }, { kid: `made-up-${i}` });
          expect(["UNAUTHENTICATED invalid credentials", "UNAVAILABLE temporarily unavailable"]).toContain(
            told(await invoke(client, "unary", { metadata: { authorization: `Bearer ${token}` } })),
          );
        }),
      );
      expect(issuer.jwksRequests - before).toBeLessThanOrEqual(5);
    });
  });
});

/** Handlers that note whom they serve, and what the caller's metadata says. */
function noting(seen: Seen[]): UntypedServiceImplementation {
  const good = goodHandlers();
  return Object.fromEntries(
    Object.entries(good).map(([name, handler]) => [
      name,
      (call: { metadata: Metadata }, callback: unknown) => {
        seen.push({ principal: securityContext(call).principal, metadata: call.metadata.toJSON() });
        return Reflect.apply(handler, undefined, [call, callback]);
      },
    ]),
  ) as unknown as UntypedServiceImplementation;
}

interface Seen {
  readonly principal: Principal | undefined;
  readonly metadata: Readonly<Record<string, unknown>>;
}

describe("A3 API keys", () => {
  const good = issueApiKey({ owner: "billing", id: "key-1", roles: ["caller"], tenant: "acme" });
  const second = issueApiKey({ owner: "billing", id: "key-2", roles: ["caller"] });
  const expired = issueApiKey({ owner: "billing", roles: ["caller"], expiresAt: Date.now() - 1000 });
  const early = issueApiKey({ owner: "billing", roles: ["caller"], notBefore: Date.now() + 3_600_000 });
  const revoked = issueApiKey({ owner: "billing", roles: ["caller"] });
  const strange = issueApiKey({ owner: "billing", roles: ["caller"] });
  const store = memoryApiKeyStore([
    good.record,
    second.record,
    expired.record,
    early.record,
    { ...revoked.record, revoked: true },
  ]);
  const seen: Seen[] = [];
  const tried: string[] = [good.key, second.key];
  let wall: Secured;
  beforeAll(async () => {
    wall = await secured({
      authentication: apiKey({ store }),
      handlers: noting(seen),
      rateLimit: unthrottled,
      peer: behindProxy,
    });
  });
  afterAll(() => wall.close());

  describe.each(kinds)("on a %s call", (kind) => {
    const call = async (key: string): Promise<string> =>
      told(await invoke(wall.client(), kind, { metadata: { "x-api-key": key, ...another() } }));

    it("A3 lets a good key in: the principal is its owner, the key's id a claim", async () => {
      expect(await call(good.key)).toBe("OK OK");
      expect(seen.at(-1)?.principal).toMatchObject({
        subject: "billing",
        kind: "service",
        scheme: "api-key",
        tenant: "acme",
        claims: { keyId: "key-1" },
      });
    });

    it.each([
      ["unknown", () => strange.key, "invalid credentials"],
      ["revoked", () => revoked.key, "invalid credentials"],
      ["not yet valid", () => early.key, "invalid credentials"],
      ["expired", () => expired.key, "expired credentials"],
      ["truncated", () => good.key.slice(0, -1), "invalid credentials"],
      ["in another case", () => good.key.toUpperCase(), "invalid credentials"],
      ["its own digest", () => good.record.digest, "invalid credentials"],
      ["too long", () => `plsd_${"a".repeat(600)}`, "invalid credentials"],
    ])("A3 A11 refuses a key that is %s", async (_what, key, text) => {
      expect(await call(key())).toBe(`UNAUTHENTICATED ${text}`);
      tried.push(key());
    });

    it("A6 refuses a good key twice, and a good key beside a token that nobody verifies", async () => {
      const twice = new Metadata();
      twice.add("x-api-key", good.key);
      twice.add("x-api-key", second.key);
      expect(told(await invoke(wall.client(), kind, { metadata: twice }))).toBe(
        "UNAUTHENTICATED invalid credentials",
      );
      const beside = { "x-api-key": good.key, authorization: `Bearer ${await world.token()}` };
      expect(told(await invoke(wall.client(), kind, { metadata: beside }))).toBe(
        "UNAUTHENTICATED invalid credentials",
      );
    });
  });

  it("A11 none of these keys is written in a log line or an audit entry", async () => {
    expect(tried.length).toBeGreaterThan(30);
    await expectNowhere(wall, ...tried);
  });

  it("A3 L1 two keys of one owner share the owner's limits", async () => {
    const same = memoryApiKeyStore([
      issueAs(good.record, "a", good.record.digest),
      issueAs(good.record, "b", second.record.digest),
    ]);
    await using shared = await secured({
      authentication: apiKey({ store: same }),
      rateLimit: { perPrincipal: { points: 2, durationSec: 60 } },
      authorization: allowAuthenticated(),
    });
    const sharedClient = shared.client();
    const results: string[] = [];
    for (const apiKeyValue of [good.key, second.key, good.key, second.key]) {
      results.push(told(await invoke(sharedClient, "unary", { metadata: { "x-api-key": apiKeyValue } })));
    }
    expect(results).toEqual([
      "OK OK",
      "OK OK",
      "RESOURCE_EXHAUSTED rate limit exceeded",
      "RESOURCE_EXHAUSTED rate limit exceeded",
    ]);
  });

  function issueAs(record: typeof good.record, id: string, digest: string): typeof good.record {
    return { ...record, id, digest };
  }
});

describe("A6 any of", () => {
  const key = issueApiKey({ owner: "billing", roles: ["caller"] });
  const badKey = issueApiKey({ owner: "billing", roles: ["caller"] });
  const seen: Seen[] = [];
  let wall: Secured;
  beforeAll(async () => {
    wall = await secured({
      authentication: anyOf(
        jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
        apiKey({ store: memoryApiKeyStore([key.record]) }),
      ),
      handlers: noting(seen),
      rateLimit: unthrottled,
    });
  });
  afterAll(() => wall.close());

  describe.each(kinds)("on a %s call", (kind) => {
    const call = async (metadata: Record<string, string>): Promise<string> =>
      told(await invoke(wall.client(), kind, { metadata }));
    const bearer = async (extra?: Readonly<Record<string, unknown>>): Promise<string> =>
      `Bearer ${await world.token(extra)}`;

    it("A6 either alone is enough", async () => {
      expect(await call({ authorization: await bearer() })).toBe("OK OK");
      expect(seen.at(-1)?.principal).toMatchObject({ subject: "ada", scheme: "jwt" });
      expect(await call({ "x-api-key": key.key })).toBe("OK OK");
      expect(seen.at(-1)?.principal).toMatchObject({ subject: "billing", scheme: "api-key" });
    });

    it("A6 both good: the first listed is the principal", async () => {
      expect(await call({ authorization: await bearer(), "x-api-key": key.key })).toBe("OK OK");
      expect(seen.at(-1)?.principal).toMatchObject({ subject: "ada", scheme: "jwt" });
    });

    it.each([
      [
        "a good token and a bad key",
        async () => ({ authorization: await bearer(), "x-api-key": badKey.key }),
        "invalid",
      ],
      [
        "a bad token and a good key",
        async () => ({ authorization: "Bearer nonsense", "x-api-key": key.key }),
        "invalid",
      ],
      [
        "a token for somebody else and a good key",
        async () => ({ authorization: await bearer({ aud: "billing" }), "x-api-key": key.key }),
        "invalid",
      ],
      [
        "an expired token and a good key",
        async () => ({ authorization: await bearer({ exp: nowSec() - 60 }), "x-api-key": key.key }),
        "expired",
      ],
      [
        "an unknown scheme and a good key",
        async () => ({ authorization: "Basic YWRhOmFkYQ==", "x-api-key": key.key }),
        "invalid",
      ],
      [
        "a token of an unknown issuer and a good key",
        async () => ({ authorization: await bearer({ iss: "https://x.example" }), "x-api-key": key.key }),
        "invalid",
      ],
      [
        "a good token and an empty key",
        async () => ({ authorization: await bearer(), "x-api-key": "" }),
        "invalid",
      ],
    ] as const)("A6 %s: none is skipped in favour of the other", async (_what, metadata, problem) => {
      const started = seen.length;
      expect(await call(await metadata())).toBe(`UNAUTHENTICATED ${problem} credentials`);
      expect(seen).toHaveLength(started);
    });

    it("A6 two `authorization` fields, which Node would make one of, are refused", async () => {
      const token = await bearer();
      for (const pair of [
        [token, token],
        [token, "Bearer nonsense"],
        ["Bearer nonsense", token],
      ] as const) {
        await using wire = await openWire(wall, {
          outbound: forgeHeaders([
            ...Object.entries(fixedHeaders(wall, paths[kind])),
            ["authorization", pair[0]],
            ["authorization", pair[1]],
          ]),
        });
        expect(await wire.call({ path: paths[kind] }).ended).toMatchObject({
          code: 16,
          message: "invalid credentials",
        });
      }
      await expectNowhere(wall, token.slice(7));
    });
  });

  it("A6 one `authorization` field sent by the same means is good, so that the second is what was refused", async () => {
    await using wire = await openWire(wall, {
      outbound: forgeHeaders([
        ...Object.entries(fixedHeaders(wall, paths.bidi_stream)),
        ["authorization", `Bearer ${await world.token()}`],
      ]),
    });
    expect(await wire.call({ path: paths.bidi_stream }).ended).toMatchObject({ code: 0 });
  });
});

describe("A6 an authenticator of one's own", () => {
  /** Reads the first value and does not look for more. */
  const careless: Authenticator = {
    name: "careless",
    source: "metadata",
    headers: ["authorization"],
    presents: (call) => call.metadata.get("authorization")[0] === "Own ada",
    authenticate: () => ({
      principal: {
        subject: "ada",
        kind: "user",
        scheme: "own",
        roles: new Set(["caller"]),
        permissions: new Set(),
        claims: {},
      },
    }),
  };

  it.each(kinds)("A6 is never asked about a %s call with two `authorization` fields", async (kind) => {
    await using wall = await secured({ authentication: careless });
    const call = async (...more: readonly (readonly [string, string])[]): Promise<unknown> => {
      const fixed = Object.entries(fixedHeaders(wall, paths[kind]));
      await using wire = await openWire(wall, {
        outbound: forgeHeaders([...fixed, ["authorization", "Own ada"], ...more]),
      });
      const { code, message } = await wire.call({
        path: paths[kind],
        messages: [Buffer.from('{"text":"x"}')],
      }).ended;
      return `${code} ${message}`;
    };
    expect(await call()).toBe("0 undefined");
    expect(await call(["authorization", "Own bob"])).toBe("16 invalid credentials");
  });
});

describe("A9 what the handler sees", () => {
  it.each(kinds)("A9 claims of identity in a %s call's metadata never reach its handler", async (kind) => {
    const seen: Seen[] = [];
    await using wall = await secured({ handlers: noting(seen) });
    const metadata = {
      ...(await wall.authorized()),
      "x-user-id": "root",
      "x-tenant-id": "victim",
      "X-User-Id": "root",
      "x-other": "stays",
    };
    expect(await invoke(wall.client(), kind, { metadata })).toMatchObject({ name: "OK" });
    expect(seen).toHaveLength(1);
    expect(Object.keys(seen[0]?.metadata ?? {})).not.toEqual(expect.arrayContaining(["x-user-id"]));
    expect(Object.keys(seen[0]?.metadata ?? {})).not.toEqual(expect.arrayContaining(["x-tenant-id"]));
    expect(JSON.stringify(seen[0]?.metadata)).not.toContain("victim");
    expect(seen[0]?.metadata).toMatchObject({ "x-other": ["stays"] });
    expect(seen[0]?.principal).toMatchObject({ subject: "ada", tenant: "acme", kind: "user", scheme: "jwt" });
    expect([...(seen[0]?.principal?.roles ?? [])]).toEqual(["caller"]);
  });

  it.each(kinds)("A9 two %s calls on one connection never see each other's principal", async (kind) => {
    const seen: Seen[] = [];
    await using wall = await secured({ handlers: noting(seen) });
    const client = wall.client();
    const subjects = Array.from({ length: 20 }, (_, i) => `user-${i}`);
    await Promise.all(
      subjects.map(async (sub) =>
        invoke(client, kind, { metadata: { ...(await wall.authorized({ sub })), "x-mine": sub } }),
      ),
    );
    expect(seen.map(({ principal }) => principal?.subject).sort()).toEqual([...subjects].sort());
    for (const { principal, metadata } of seen)
      expect(metadata).toMatchObject({ "x-mine": [principal?.subject] });
  });

  it("A9 requirePrincipal gives the principal, and refuses the anonymous", async () => {
    const unary = (call: { request: Note }, callback: (error: unknown, value?: Note) => void): void =>
      callback(null, { text: requirePrincipal(call).subject });
    await using wall = await secured({
      handlers: { unary } as unknown as UntypedServiceImplementation,
      authorization: rbac({
        roles: { caller: {} },
        rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, [paths.unary]: "public" },
      }),
    });
    const client = wall.client();
    const known = await invoke(client, "unary", { metadata: await wall.authorized() });
    expect(known.messages).toEqual([{ text: "ada" }]);
    expect(told(await invoke(client, "unary"))).toBe("UNAUTHENTICATED missing credentials");
  });
});

describe("A10 health probes", () => {
  const garbage: readonly (readonly [string, Record<string, string> | undefined])[] = [
    ["no credentials", undefined],
    ["a garbage token", { authorization: "Bearer nonsense" }],
    ["an unknown scheme", { authorization: "Magic wand" }],
    ["a garbage API key", { "x-api-key": "nonsense" }],
    ["claims of identity", { "x-user-id": "root" }],
  ];

  it.each(garbage)("A10 Check and Watch pass with %s", async (_what, metadata) => {
    await using wall = await secured();
    const client = wall.client();
    expect(await check(client, "", metadata)).toMatchObject({ value: { status: "SERVING" } });
    const watching = watch(client, "", metadata);
    await watching.next("SERVING");
    watching.cancel();
  });

  it("A10 Check and Watch pass beyond every limit, and without a deadline where one is required", async () => {
    await using wall = await secured({
      rateLimit: {
        perPeer: { points: 1, durationSec: 3600, blockDurationSec: 3600 },
        perPrincipal: { points: 1, durationSec: 3600 },
        inFlightPerPrincipal: 1,
      },
      deadline: { required: true },
    });
    const client = wall.client();
    await invoke(client, "unary");
    expect(await invoke(client, "unary")).toMatchObject({ details: "rate limit exceeded" });
    const endless = { deadline: Number.POSITIVE_INFINITY };
    for (let i = 0; i < 5; i++) {
      expect(await check(client, "", undefined, endless)).toMatchObject({ value: { status: "SERVING" } });
    }
    const watches = Array.from({ length: 3 }, () => watch(client, "", undefined, endless));
    for (const watching of watches) await watching.next("SERVING");
    for (const watching of watches) watching.cancel();
  });

  it("A10 List needs credentials, and a rate", async () => {
    await using wall = await secured({ rateLimit: { perPrincipal: { points: 1, durationSec: 3600 } } });
    const client = wall.client();
    expect(await list(client)).toMatchObject({ name: "UNAUTHENTICATED", details: "missing credentials" });
    expect(await list(client, { authorization: "Bearer nonsense" })).toMatchObject({
      details: "invalid credentials",
    });
    expect(await list(client, await wall.authorized({ roles: [] }))).toMatchObject({
      name: "OK",
      value: { statuses: { "": { status: "SERVING" }, "test.v1.Kinds": { status: "SERVING" } } },
    });
    expect(await list(client, await wall.authorized({ roles: [] }))).toMatchObject({
      details: "rate limit exceeded",
    });
  });

  it("A10 List is refused to the anonymous where credentials are optional", async () => {
    await using wall = await secured({
      authentication: optional(
        jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
      ),
    });
    expect(await list(wall.client())).toMatchObject({
      name: "PERMISSION_DENIED",
      details: "permission denied",
    });
  });

  it.each([
    "/grpc.health.v1.Health/check",
    "/grpc.health.v1.Health/Check/",
    "/grpc.health.v1.Health/Check?x=1",
    "/grpc.health.v1.Health//Check",
    "/grpc.health.v1.Health/Check%20",
    "/grpc.health.v1.health/Check",
    "/grpc.health.v1.Health/Checks",
    "/grpc.health.v1.Health/Watch/",
    "/grpc.health.v2.Health/Check",
    "//grpc.health.v1.Health/Check",
    "/x/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/../Health/Check",
    "/test.v1.Kinds/Unary/../../grpc.health.v1.Health/Check",
    "/test.v1.Kinds/Check",
  ])("A10 C8 the lookalike %s needs credentials", async (path) => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    expect(await wire.call({ path }).ended).toMatchObject({ code: 16, message: "missing credentials" });
    const metadata = await wall.authorized();
    expect(await wire.call({ path, headers: metadata }).ended).toMatchObject({
      code: 12,
      message: "unknown method",
    });
  });

  it("A10 where the health service is off, a probe is an unknown method like any other", async () => {
    await using wall = await secured({ health: false });
    expect(await check(wall.client(), "")).toMatchObject({ details: "missing credentials" });
    expect(await check(wall.client(), "", await wall.authorized())).toMatchObject({
      details: "unknown method",
    });
    expect(() => wall.server.health).toThrow(/disabled/);
  });

  async function openWatches(client: Client, count: number): Promise<readonly ReturnType<typeof watch>[]> {
    const watches = Array.from({ length: count }, () => watch(client, ""));
    for (const each of watches) await each.next("SERVING");
    return watches;
  }

  it.each([
    ["of one peer", { perPeer: 3 }],
    ["in all", { total: 3 }],
  ])(
    "A10 L10 anonymous watches %s are capped, and a place is free again once one ends",
    async (_what, watchLimit) => {
      await using wall = await secured({ health: { watchLimit } });
      // Two connections: the peer is the address, not the connection.
      const [one, other] = [wall.client(), wall.client()];
      const [first] = await openWatches(one, 2);
      await openWatches(other, 1);
      expect(await watch(other, "").ended).toMatchObject({
        name: "RESOURCE_EXHAUSTED",
        details: "too many calls in flight",
      });
      expect(await check(one, "")).toMatchObject({ name: "OK" });
      first?.cancel();
      await first?.ended;
      await wall.callLine((line) => line["grpc_code"] === "CANCELLED");
      await openWatches(other, 1);
    },
  );

  it("A10 L10 a watch of a name without end is refused", async () => {
    await using wall = await secured();
    expect(await watch(wall.client(), "x".repeat(257)).ended).toMatchObject({
      name: "INVALID_ARGUMENT",
      details: "invalid request",
    });
  });
});

describe("A10 public methods", () => {
  const everywhere: SecuredOptions["authorization"] = rbac({
    rules: {
      [paths.unary]: "public",
      [paths.client_stream]: "public",
      [paths.server_stream]: "public",
      [paths.bidi_stream]: "public",
    },
  });

  it.each(kinds)("A10 a public %s method: nobody is anonymous by mistake", async (kind) => {
    const seen: Seen[] = [];
    await using wall = await secured({ authorization: everywhere, handlers: noting(seen) });
    const client = wall.client();
    expect(await invoke(client, kind)).toMatchObject({ name: "OK" });
    expect(seen.at(-1)?.principal).toMatchObject({ subject: "anonymous", kind: "anonymous" });
    expect(await invoke(client, kind, { metadata: await wall.authorized() })).toMatchObject({ name: "OK" });
    expect(seen.at(-1)?.principal).toMatchObject({ subject: "ada", kind: "user" });
    for (const metadata of [
      { authorization: "Bearer nonsense" },
      { authorization: "Magic wand" },
      { "x-api-key": "nonsense" },
      await wall.authorized({ aud: "billing" }),
    ]) {
      expect(told(await invoke(client, kind, { metadata }))).toBe("UNAUTHENTICATED invalid credentials");
    }
    expect(
      told(await invoke(client, kind, { metadata: await wall.authorized({ exp: nowSec() - 60 }) })),
    ).toBe("UNAUTHENTICATED expired credentials");
    expect(seen).toHaveLength(2);
  });

  it.each(kinds)("A9 a stranger's x-user-id does not reach a public %s method either", async (kind) => {
    const seen: Seen[] = [];
    await using wall = await secured({ authorization: everywhere, handlers: noting(seen) });
    await invoke(wall.client(), kind, { metadata: { "x-user-id": "root", "x-tenant-id": "victim" } });
    expect(JSON.stringify(seen)).not.toMatch(/root|victim/);
    expect(seen).toHaveLength(1);
  });
});

describe("A11 who are you, and you may not, are never mixed", () => {
  it.each(kinds)("A11 on a %s call", async (kind) => {
    await using wall = await secured();
    const client = wall.client();
    const [denied, token] = [await wall.authorized({ roles: ["other"] }), await wall.authorized()];
    const answers = [
      await invoke(client, kind),
      await invoke(client, kind, { metadata: { authorization: "Bearer nonsense" } }),
      await invoke(client, kind, { metadata: denied }),
      await invoke(client, kind, { metadata: denied, path: "/no.such.Service/Method" }),
      await invoke(client, kind, { path: "/no.such.Service/Method" }),
      await invoke(client, kind, { metadata: token }),
    ];
    expect(answers.map(told)).toEqual([
      "UNAUTHENTICATED missing credentials",
      "UNAUTHENTICATED invalid credentials",
      "PERMISSION_DENIED permission denied",
      "UNIMPLEMENTED unknown method",
      "UNAUTHENTICATED missing credentials",
      "OK OK",
    ]);
    const entry = await wall.auditEntry(({ status }) => status === "PERMISSION_DENIED");
    expect(entry).toMatchObject({ decision: "deny", rule: "/test.v1.Kinds/*", caller: { subject: "ada" } });
    const line = await wall.callLine((each) => each["grpc_code"] === "PERMISSION_DENIED");
    expect(line).toMatchObject({ rule: "/test.v1.Kinds/*", reason: "needs role caller", principal: "ada" });
    await expectNowhere(wall, denied.authorization.slice(7), token.authorization.slice(7));
  });
});
