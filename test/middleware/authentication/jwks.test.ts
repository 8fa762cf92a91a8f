import type { JWK } from "jose";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../../src/middleware/authentication/jwt.ts";
import { waitMs } from "../../harness/time.ts";
import { audience, issuer, type JwksServer, jwksServer, signingKey, token } from "./identity-provider.ts";
import { atOnce, bearer, verdict } from "./incoming-call.ts";

const oldKey = signingKey("ES256", "old");
const newKey = signingKey("ES256", "new");
const minutes = 60_000;

let provider: JwksServer;
let authenticator: Authenticator;

/** Time passes when a test says so; sockets and the fetch timeout keep real time. */
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date", "performance"] });
  provider = await jwksServer(oldKey.jwk);
  authenticator = jwt({ issuer, audience, jwksUri: provider.url });
});

afterEach(async () => {
  vi.useRealTimers();
  await provider.close();
});

function fresh(
  key = oldKey,
  header: Readonly<Record<string, unknown>> = {},
  jti: string = Math.random().toString(),
) {
  return bearer(token(key, { jti, exp: Math.floor(Date.now() / 1000) + 86_400 }, header));
}

function good(): Promise<string> {
  return verdict(authenticator, fresh());
}

describe("jwks: fetching", () => {
  it("A2 fetches once for all calls that need the keys at once, and then no more", async () => {
    const verdicts = await Promise.all(Array.from({ length: 20 }, good));
    expect(new Set(verdicts)).toEqual(new Set(["good: ada"]));
    await good();
    expect(provider.requests()).toBe(1);
  });

  it("A2 a token without kid is tried against the keys of its algorithm", async () => {
    provider.publish(newKey.jwk, signingKey("RS256").jwk, oldKey.jwk);
    expect(await verdict(authenticator, fresh(oldKey, { kid: undefined }))).toBe("good: ada");
  });

  it("A2 a token without kid is tried against ten keys at most", async () => {
    const others = Array.from({ length: 10 }, () => signingKey("ES256").jwk);
    provider.publish(...others, oldKey.jwk);
    expect(await verdict(authenticator, fresh(oldKey, { kid: undefined }))).toBe("invalid");
    expect(await verdict(authenticator, fresh())).toBe("good: ada");
  });

  it.each<[string, (jwk: JWK) => JWK]>([
    ["for encryption (use)", (jwk) => ({ ...jwk, use: "enc" })],
    ["not for verifying (key_ops)", (jwk) => ({ ...jwk, key_ops: ["deriveKey"] })],
    ["for another algorithm (alg)", (jwk) => ({ ...jwk, alg: "ES384" })],
    ["with its private half", (jwk) => ({ ...jwk, ...oldKey.privateKey.export({ format: "jwk" }) })],
    ["symmetric under the same kid", (jwk) => ({ kty: "oct", k: "AAAA", kid: jwk.kid ?? "" })],
    ["not on its curve", (jwk) => ({ ...jwk, y: jwk.x ?? "" })],
  ])("A2 a published key that is %s verifies nothing, and the others do", async (_, spoil) => {
    provider.publish(spoil(oldKey.jwk), newKey.jwk);
    expect(await verdict(authenticator, fresh(oldKey))).toBe("invalid");
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
  });

  it("A2 does not follow a redirect", async () => {
    const elsewhere = await jwksServer(oldKey.jwk);
    provider.answerWith((_, response) => response.writeHead(302, { location: elsewhere.url }).end());
    expect(await good()).toMatch(/^failure/);
    expect(elsewhere.requests()).toBe(0);
    await elsewhere.close();
  });

  it("A1 never fetches from where a token points", async () => {
    const evil = signingKey("ES256", "old");
    const elsewhere = await jwksServer(evil.jwk);
    expect(
      await verdict(authenticator, fresh(evil, { jku: elsewhere.url, x5u: elsewhere.url, jwk: evil.jwk })),
    ).toBe("invalid");
    expect(elsewhere.requests()).toBe(0);
    await elsewhere.close();
  });
});

describe("jwks: rotation", () => {
  it("A2 a new key is fetched when the first token names it", async () => {
    await good();
    provider.publish(oldKey.jwk, newKey.jwk);
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
    expect(provider.requests()).toBe(2);
  });

  it("A2 a flood of made-up key ids causes one fetch in a cooldown, and holds a rotation up no longer", async () => {
    await good();
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 20; i++) {
        expect(await verdict(authenticator, fresh(newKey, { kid: `made-up-${round}-${i}` }))).toBe("invalid");
      }
    }
    expect(provider.requests()).toBe(2);
    provider.publish(oldKey.jwk, newKey.jwk);
    expect(await verdict(authenticator, fresh(newKey))).toBe("invalid");
    vi.advanceTimersByTime(30_000);
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
    expect(provider.requests()).toBe(3);
  });

  it("A2 a flood of made-up key ids at once shares one fetch", async () => {
    await good();
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => verdict(authenticator, fresh(newKey, { kid: `${i}` }))),
    );
    expect(provider.requests()).toBe(2);
  });

  it("A2 the keys are refreshed in the background after ten minutes; nobody waits for it", async () => {
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
    await authenticator.authenticate(bearer(text));
    vi.advanceTimersByTime(10 * minutes);
    await authenticator.authenticate(bearer(text));
    await vi.waitFor(() => expect(provider.requests()).toBe(2), waitMs);
    expect(atOnce(authenticator, bearer(text)).principal.subject).toBe("ada");
  });

  it("A2 a removed key stops verifying after the refresh, also where the signature is cached", async () => {
    const authenticatorWithLongCache = jwt({
      issuer,
      audience,
      jwksUri: provider.url,
      cache: { maxAgeSec: 86_400 },
    });
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
    await authenticatorWithLongCache.authenticate(bearer(text));
    provider.publish(newKey.jwk);
    vi.advanceTimersByTime(10 * minutes);
    expect(atOnce(authenticatorWithLongCache, bearer(text)).principal.subject).toBe("ada");
    await vi.waitFor(
      async () => expect(await verdict(authenticatorWithLongCache, bearer(text))).toBe("invalid"),
      waitMs,
    );
  });

  it("A2 a key that is replaced under the same kid stops verifying, also where the signature is cached", async () => {
    const long = jwt({ issuer, audience, jwksUri: provider.url, cache: { maxAgeSec: 86_400 } });
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
    await long.authenticate(bearer(text));
    provider.publish(signingKey("ES256", "old").jwk);
    vi.advanceTimersByTime(10 * minutes);
    atOnce(long, bearer(text));
    await vi.waitFor(async () => expect(await verdict(long, bearer(text))).toBe("invalid"), waitMs);
  });

  it("A2 an empty key set is the issuer's word: nothing verifies any more", async () => {
    await good();
    provider.publish();
    vi.advanceTimersByTime(10 * minutes);
    await vi.waitFor(async () => expect(await good()).toBe("invalid"), waitMs);
  });
});

describe("jwks: outages", () => {
  it("A2 provider away and nothing cached is a failure of ours, not a bad credential, and heals", async () => {
    provider.answerWith((request) => request.socket.destroy());
    expect(await good()).toMatch(/^failure/);
    provider.publish(oldKey.jwk);
    vi.advanceTimersByTime(3_000);
    expect(await good()).toBe("good: ada");
  });

  it("A2 a provider that is away is asked once in three seconds, not once a call", async () => {
    provider.answerWith((request) => request.socket.destroy());
    for (let i = 0; i < 10; i++) expect(await good()).toMatch(/^failure/);
    expect(provider.requests()).toBe(1);
    vi.advanceTimersByTime(3_000);
    expect(await good()).toMatch(/^failure/);
    expect(provider.requests()).toBe(2);
  });

  it.each<[string, (write: (status: number, body: string) => void) => void]>([
    ["HTTP 500", (write) => write(500, JSON.stringify({ keys: [newKey.jwk] }))],
    ["HTTP 404", (write) => write(404, "not found")],
    ["HTML", (write) => write(200, "<html>maintenance</html>")],
    ["an empty body", (write) => write(200, "")],
    ["JSON that is no JWK Set", (write) => write(200, "{}")],
    ["null", (write) => write(200, "null")],
    ["keys that are no list", (write) => write(200, '{"keys":{}}')],
    ["keys that are no keys", (write) => write(200, '{"keys":[1,null]}')],
    ["half an answer", (write) => write(200, '{"keys":[{"kty":"EC"')],
    [
      "more than a hundred keys",
      (write) => write(200, JSON.stringify({ keys: Array.from({ length: 101 }, () => newKey.jwk) })),
    ],
    [
      "more than a mebibyte",
      (write) => write(200, JSON.stringify({ keys: [newKey.jwk], junk: "x".repeat(1024 * 1024) })),
    ],
  ])("A2 %s never replaces the last good keys", async (_, answer) => {
    await good();
    provider.answerWith((_request, response) =>
      answer((status, body) => response.writeHead(status).end(body)),
    );
    vi.advanceTimersByTime(10 * minutes);
    expect(await good()).toBe("good: ada");
    await vi.waitFor(() => expect(provider.requests()).toBe(2), waitMs);
    vi.advanceTimersByTime(60 * minutes);
    expect(await good()).toBe("good: ada");
    expect(await verdict(authenticator, fresh(newKey))).toMatch(/^failure/);
    provider.publish(newKey.jwk);
    vi.advanceTimersByTime(3_000);
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
  });

  it("A2 a slow provider delays nobody who has a known key", async () => {
    await good();
    let answerNow = (): void => {};
    provider.answerWith((_, response) => {
      answerNow = () => void response.end(JSON.stringify({ keys: [newKey.jwk] }));
    });
    vi.advanceTimersByTime(10 * minutes);
    expect(await good()).toBe("good: ada");
    await vi.waitFor(() => expect(provider.requests()).toBe(2), waitMs);
    expect(await good()).toBe("good: ada");
    provider.publish(newKey.jwk);
    answerNow();
    await vi.waitFor(async () => expect(await good()).toBe("invalid"), waitMs);
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
  });

  it("A2 a provider that never answers is given up after five seconds", async () => {
    provider.answerWith(() => {});
    expect(await good()).toMatch(/^failure/);
  });
});
