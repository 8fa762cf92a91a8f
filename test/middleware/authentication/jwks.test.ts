import { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";
import type { JWK } from "jose";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Call } from "../../../src/chain/context.ts";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { fixedLocation } from "../../../src/middleware/authentication/jwt/jwks-location.ts";
import { jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import { remoteJwks } from "../../../src/middleware/authentication/jwt/remote-jwks.ts";
import { keptLog, type LogLine } from "../../harness/secured.ts";
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

  it("A2 made-up key ids are invalid while the issuer can be asked about them, and cannot be judged after", async () => {
    await good();
    const verdicts: string[] = [];
    for (let i = 0; i < 50; i++) verdicts.push(await verdict(authenticator, fresh(newKey, { kid: `${i}` })));
    expect(verdicts.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => "invalid"));
    for (const each of verdicts.slice(5)) expect(each).toMatch(/^failure: Error: .* not known yet/);
    expect(provider.requests()).toBe(6);
    expect(await good()).toBe("good: ada");
  });

  it("A2 under a flood of made-up key ids a rotated key is unavailable for ten seconds at most, and never invalid", async () => {
    await good();
    const flood = async (): Promise<void> => {
      for (let i = 0; i < 20; i++)
        await verdict(authenticator, fresh(newKey, { kid: Math.random().toString() }));
    };
    await flood();
    provider.publish(oldKey.jwk, newKey.jwk);
    for (let second = 0; second < 10; second++) {
      expect(await verdict(authenticator, fresh(newKey))).toMatch(/^failure/);
      expect(await good()).toBe("good: ada");
      vi.advanceTimersByTime(1_000);
      // The attacker is first, and its request serves everybody.
      await flood();
    }
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
    expect(provider.requests()).toBe(7);
  });

  it("A2 ten minutes of made-up key ids cost the issuer one request in ten seconds", async () => {
    await good();
    for (let second = 0; second < 600; second++) {
      await verdict(authenticator, fresh(newKey, { kid: Math.random().toString() }));
      vi.advanceTimersByTime(1_000);
    }
    // One at first, five at once, one in ten seconds: requests that are due by age are among them.
    expect(provider.requests()).toBeLessThanOrEqual(1 + 5 + 60);
  });

  it("A2 a call that came when the issuer had read the request is judged by the next one", async () => {
    await good();
    const held: (() => void)[] = [];
    provider.answerWith((_, response) => {
      const keys = held.length === 0 ? [oldKey.jwk] : [oldKey.jwk, newKey.jwk];
      held.push(() => void response.end(JSON.stringify({ keys })));
    });
    const madeUp = verdict(authenticator, fresh(newKey, { kid: "made-up" }));
    await vi.waitFor(() => expect(held).toHaveLength(1), waitMs);
    // The issuer publishes its key now, and signs with it; its answer to the first request is on its way already.
    const honest = verdict(authenticator, fresh(newKey));
    held[0]?.();
    expect(await madeUp).toBe("invalid");
    await vi.waitFor(() => expect(held).toHaveLength(2), waitMs);
    held[1]?.();
    expect(await honest).toBe("good: ada");
  });

  it("A2 an issuer whose keys have no kid may rotate them, and nobody is invalid while that cannot be told", async () => {
    const bare = ({ kid: _, ...jwk }: JWK): JWK => jwk;
    const without = { kid: undefined };
    provider.publish(bare(oldKey.jwk));
    expect(await verdict(authenticator, fresh(oldKey, without))).toBe("good: ada");
    provider.publish(bare(newKey.jwk));
    expect(await verdict(authenticator, fresh(newKey, without))).toBe("good: ada");
    expect(await verdict(authenticator, fresh(oldKey, without))).toBe("invalid");
    expect(provider.requests()).toBe(3);
    const forger = signingKey("ES256");
    for (let i = 0; i < 3; i++) expect(await verdict(authenticator, fresh(forger, without))).toBe("invalid");
    expect(await verdict(authenticator, fresh(forger, without))).toMatch(/^failure/);
    provider.publish(bare(oldKey.jwk), bare(newKey.jwk));
    expect(await verdict(authenticator, fresh(oldKey, without))).toMatch(/^failure/);
    expect(await verdict(authenticator, fresh(newKey, without))).toBe("good: ada");
    vi.advanceTimersByTime(10_000);
    expect(await verdict(authenticator, fresh(oldKey, without))).toBe("good: ada");
    // Where every key has a kid, a token without one is the issuer's or forged.
    provider.publish(newKey.jwk);
    vi.advanceTimersByTime(10 * minutes);
    const before = provider.requests();
    expect(await verdict(authenticator, fresh(forger, without))).toBe("invalid");
    expect(provider.requests()).toBe(before + 1);
  });

  it("A2 a token that names a known key and is not signed by it is invalid, and asks nothing of the issuer", async () => {
    await good();
    const forger = signingKey("ES256", "old");
    const other = signingKey("RS256", "old");
    for (let i = 0; i < 10; i++) {
      expect(await verdict(authenticator, fresh(forger))).toBe("invalid");
      expect(await verdict(authenticator, fresh(other))).toBe("invalid");
    }
    expect(provider.requests()).toBe(1);
  });

  it("A2 a flood of made-up key ids at once shares one fetch", async () => {
    await good();
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => verdict(authenticator, fresh(newKey, { kid: `${i}` }))),
    );
    expect(provider.requests()).toBe(2);
  });

  it("A2 the keys are refreshed in the background after five minutes; nobody waits for it", async () => {
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
    await authenticator.authenticate(bearer(text));
    for (let age = 1; age <= 12; age++) {
      vi.advanceTimersByTime(5 * minutes);
      // The second time the token is verified anew, which is done on another thread for this kind of key.
      await authenticator.authenticate(bearer(text));
      expect(atOnce(authenticator, bearer(text)).principal.subject).toBe("ada");
      await vi.waitFor(() => expect(provider.requests()).toBe(1 + age), waitMs);
      await good();
    }
  });

  it.each([
    ["removed", () => newKey],
    ["replaced under the same kid", () => signingKey("ES256", "old")],
  ])(
    "A2 a key that was %s is not believed once after ten minutes, whoever called in between",
    async (_, next) => {
      const long = jwt({ issuer, audience, jwksUri: provider.url, cache: { maxAgeSec: 86_400 } });
      const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
      await long.authenticate(bearer(text));
      provider.publish(next().jwk);
      vi.advanceTimersByTime(10 * minutes - 1);
      expect(atOnce(long, bearer(text)).principal.subject).toBe("ada");
      await vi.waitFor(() => expect(provider.requests()).toBe(2), waitMs);
      await vi.waitFor(async () => expect(await verdict(long, bearer(text))).toBe("invalid"), waitMs);
    },
  );

  it.each([10 * minutes, 60 * minutes, 30 * 24 * 60 * minutes])(
    "A2 a key that was removed while nobody called for %i ms is not believed, also where the signature is cached",
    async (idle) => {
      const long = jwt({
        issuer,
        audience,
        jwksUri: provider.url,
        cache: { maxAgeSec: 86_400 },
      });
      const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 100 * 86_400 });
      await long.authenticate(bearer(text));
      provider.publish(newKey.jwk);
      vi.advanceTimersByTime(idle);
      expect(await verdict(long, bearer(text))).toBe("invalid");
      expect(await verdict(long, fresh(newKey))).toBe("good: ada");
    },
  );

  it.each([
    ["max-age=120", 120_000],
    ["public, Max-Age=120, must-revalidate", 120_000],
    ["max-age=1", 60_000],
    ["max-age=86400", 600_000],
    ["max-age=0", 600_000],
    ["no-store", 600_000],
    ["max-age=soon", 600_000],
  ])("A2 cache-control %s: the keys are believed for %i ms", async (cacheControl, believedMs) => {
    provider.answerWith((_, response) =>
      response.setHeader("cache-control", cacheControl).end(JSON.stringify({ keys: [oldKey.jwk] })),
    );
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
    await authenticator.authenticate(bearer(text));
    vi.advanceTimersByTime(believedMs / 2 - 1);
    await authenticator.authenticate(bearer(text));
    expect(provider.requests()).toBe(1);
    provider.publish(newKey.jwk);
    vi.advanceTimersByTime(believedMs / 2 + 1);
    expect(await verdict(authenticator, bearer(text))).toBe("invalid");
  });

  it("A2 a refreshed set with the same keys is the same set, so that verified tokens stay verified", async () => {
    const keys = remoteJwks(fixedLocation(provider.url), { maxStaleMs: 86_400_000 });
    const call = fresh();
    const renewed = async (...jwks: readonly JWK[]): Promise<unknown> => {
      provider.publish(...jwks);
      vi.advanceTimersByTime(10 * minutes);
      expect(keys.believed(call)).toBeUndefined();
      await keys.renew(call);
      return keys.believed(call);
    };
    const first = await renewed(oldKey.jwk);
    expect(first).toBeDefined();
    const { kid = "", ...others } = oldKey.jwk;
    expect(await renewed({ kid, ...others, x5t: "told anew" }, { kty: "oct", k: "AAAA" })).toBe(first);
    expect(await renewed(oldKey.jwk, newKey.jwk)).not.toBe(first);
  });

  it("A2 an empty key set is the issuer's word: nothing verifies any more", async () => {
    await good();
    provider.publish();
    vi.advanceTimersByTime(10 * minutes);
    expect(await good()).toBe("invalid");
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

  type Write = (status: number, body: string | Buffer, length?: number, end?: "open") => void;
  it.each<[string, (write: Write) => void]>([
    ["HTTP 500", (write) => write(500, JSON.stringify({ keys: [newKey.jwk] }))],
    ["HTTP 404", (write) => write(404, "not found")],
    ["HTML", (write) => write(200, "<html>maintenance</html>")],
    ["an empty body", (write) => write(200, "")],
    ["JSON that is no JWK Set", (write) => write(200, "{}")],
    ["null", (write) => write(200, "null")],
    ["keys that are no list", (write) => write(200, '{"keys":{}}')],
    ["keys that are no keys", (write) => write(200, '{"keys":[1,null]}')],
    ["half an answer", (write) => write(200, '{"keys":[{"kty":"EC"')],
    ["bytes that are no UTF-8", (write) => write(200, Buffer.from([0xff, 0xfe, 0x7b, 0x7d]))],
    ["an answer that ends before its length", (write) => write(200, JSON.stringify({ keys: [] }), 100)],
    ["an answer that never ends", (write) => write(200, "{", 100, "open")],
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
      answer((status, body, length, end) => {
        response
          .writeHead(status, length === undefined ? {} : { "content-length": length })
          .write(body || " ");
        if (end === "open") return;
        if (length === undefined) response.end();
        else response.socket?.end();
      }),
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

  it.each([
    ["refuses", (request: IncomingMessage) => request.socket.destroy()],
    ["never answers", () => {}],
  ])(
    "A2 while the provider %s known keys go on until maxStaleSec, and unknown ones are unavailable",
    async (_, away) => {
      authenticator = jwt({ issuer, audience, jwksUri: provider.url, maxStaleSec: 7_200 });
      await good();
      provider.answerWith(away);
      expect(await good()).toBe("good: ada");
      expect(await verdict(authenticator, fresh(newKey))).toMatch(/^failure/);
      vi.advanceTimersByTime(119 * minutes);
      expect(await good()).toBe("good: ada");
      expect(await verdict(authenticator, fresh(newKey))).toMatch(/^failure/);
      vi.advanceTimersByTime(1 * minutes);
      expect(await good()).toMatch(/^failure/);
      vi.advanceTimersByTime(30 * 24 * 60 * minutes);
      expect(await good()).toMatch(/^failure/);
      provider.publish(oldKey.jwk);
      vi.advanceTimersByTime(3_000);
      expect(await good()).toBe("good: ada");
    },
  );

  it("A2 keys serve for a day of outage where maxStaleSec is not given, and cached signatures no longer", async () => {
    const long = jwt({ issuer, audience, jwksUri: provider.url, cache: { maxAgeSec: 86_400 } });
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 100 * 86_400 });
    await long.authenticate(bearer(text));
    provider.answerWith((request) => request.socket.destroy());
    vi.advanceTimersByTime(86_400_000 - 1);
    expect(await verdict(long, bearer(text))).toBe("good: ada");
    vi.advanceTimersByTime(1);
    expect(await verdict(long, bearer(text))).toMatch(/^failure/);
  });

  it("A2 one failed request does not make a set of an idle day believed for longer than a minute", async () => {
    await good();
    provider.answerWith((request) => request.socket.destroy());
    vi.advanceTimersByTime(10 * minutes);
    expect(await good()).toBe("good: ada");
    provider.publish(newKey.jwk);
    vi.advanceTimersByTime(10 * minutes);
    expect(await good()).toBe("invalid");
  });

  it("A2 during an outage nobody with a known key waits for the provider", async () => {
    const text = token(oldKey, { exp: Math.floor(Date.now() / 1000) + 86_400 });
    await authenticator.authenticate(bearer(text));
    provider.answerWith((request) => request.socket.destroy());
    vi.advanceTimersByTime(10 * minutes);
    expect(await verdict(authenticator, bearer(text))).toBe("good: ada");
    provider.answerWith(() => {});
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(4_000);
      expect(atOnce(authenticator, bearer(text)).principal.subject).toBe("ada");
    }
    await vi.waitFor(() => expect(provider.requests()).toBe(3), waitMs);
  });

  it("A2 an outage is logged once a minute, and its end", async () => {
    const { logger, lines } = keptLog();
    const call = (): Call => bearer(token(oldKey, { jti: Math.random().toString() }), logger);
    provider.answerWith((request) => request.socket.destroy());
    for (let i = 0; i < 30; i++) {
      expect(await verdict(authenticator, call())).toMatch(/^failure/);
      vi.advanceTimersByTime(3_000);
    }
    const warnings = (): readonly LogLine[] => lines.filter(({ level }) => level === 40);
    expect(warnings()).toMatchObject([
      { jwks: provider.url, left_out: 0, err: { message: expect.any(String) } },
      { jwks: provider.url, left_out: 19 },
    ]);
    provider.publish(oldKey.jwk);
    expect(await verdict(authenticator, call())).toBe("good: ada");
    expect(lines.at(-1)).toMatchObject({ level: 30, msg: "the issuer's keys could be fetched again" });
  });

  it("A2 a slow provider delays nobody who has a known key", async () => {
    await good();
    let answerNow = (): void => {};
    provider.answerWith((_, response) => {
      answerNow = () => void response.end(JSON.stringify({ keys: [newKey.jwk] }));
    });
    vi.advanceTimersByTime(5 * minutes);
    expect(await good()).toBe("good: ada");
    await vi.waitFor(() => expect(provider.requests()).toBe(2), waitMs);
    expect(await good()).toBe("good: ada");
    provider.publish(newKey.jwk);
    answerNow();
    await vi.waitFor(async () => expect(await good()).toBe("invalid"), waitMs);
    expect(await verdict(authenticator, fresh(newKey))).toBe("good: ada");
  });

  it("A2 a provider that never answers is given up after four seconds", async () => {
    provider.answerWith(() => {});
    expect(await good()).toMatch(/^failure/);
  });
});
