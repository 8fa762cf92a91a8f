// An issuer that rotates its keys while somebody floods the server with forged tokens: honest callers, who share the
// attacker's address, wait for a bounded time and are never taken for guessers (A2, L8).
import type { Client } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";
import {
  issuer,
  type JwksServer,
  jwksServer,
  type SigningKey,
  signingKey,
  token,
} from "../middleware/authentication/identity-provider.ts";

const oldKey = signingKey("ES256", "old");
const newKey = signingKey("ES256", "new");

let provider: JwksServer;
/** Ages of keys and windows of limits pass when a test says so. */
beforeEach(async () => {
  provider = await jwksServer(oldKey.jwk);
  vi.useFakeTimers({ toFake: ["performance"] });
});

afterEach(async () => {
  vi.useRealTimers();
  await provider.close();
});

function bearer(key: SigningKey, header: Readonly<Record<string, unknown>> = {}): Record<string, string> {
  const claims = { aud: "kinds", roles: ["caller"], jti: Math.random().toString() };
  return { authorization: `Bearer ${token(key, claims, header)}` };
}

describe.each(kinds)("A2 a rotation under a flood of forged tokens, %s calls", (kind) => {
  it("A2 L8 honest tokens of the new key are unavailable at worst, pass in time, and lock nobody out", async () => {
    await using wall = await secured({
      authentication: jwt({ issuer, audience: "kinds", jwksUri: provider.url }),
      rateLimit: {
        perPeer: false,
        perPrincipal: false,
        failedAuthentication: { points: 10, durationSec: 60, blockDurationSec: 300 },
      },
    });
    const told = async (client: Client, metadata: Record<string, string>): Promise<string> => {
      const { name, details } = await invoke(client, kind, { metadata });
      return name === "OK" ? name : `${name} ${details}`;
    };
    const [attacker, honest] = [wall.client(), wall.client()];
    const flood = (): Promise<string> => told(attacker, bearer(newKey, { kid: Math.random().toString() }));
    expect(await told(honest, bearer(oldKey))).toBe("OK");
    const forged: string[] = [];
    for (let i = 0; i < 30; i++) forged.push(await flood());
    expect(forged.filter((each) => each === "UNAUTHENTICATED invalid credentials")).toHaveLength(5);
    expect(forged.slice(5).filter((each) => each !== "UNAVAILABLE temporarily unavailable")).toEqual([]);

    provider.publish(oldKey.jwk, newKey.jwk);
    const seen: string[] = [];
    for (let second = 0; second <= 10; second++) {
      await flood();
      // More of them than failed logins are allowed.
      for (let i = 0; i < 3; i++) seen.push(await told(honest, bearer(newKey)));
      expect(await told(honest, bearer(oldKey))).toBe("OK");
      vi.advanceTimersByTime(1_000);
    }
    expect(new Set(seen)).toEqual(new Set(["UNAVAILABLE temporarily unavailable", "OK"]));
    expect(seen.slice(-3)).toEqual(["OK", "OK", "OK"]);
    expect(await told(wall.client(), bearer(newKey))).toBe("OK");
    expect(provider.requests()).toBe(1 + 5 + 1);
  });

  it("A2 L8 while the provider is away known keys serve, and tokens of unknown ones are not counted", async () => {
    await using wall = await secured({
      authentication: jwt({ issuer, audience: "kinds", jwksUri: provider.url, maxStaleSec: 3_600 }),
      rateLimit: { failedAuthentication: { points: 3, durationSec: 60, blockDurationSec: 300 } },
    });
    const client = wall.client();
    const told = async (key: SigningKey): Promise<string> =>
      (await invoke(client, kind, { metadata: bearer(key) })).name;
    expect(await told(oldKey)).toBe("OK");
    provider.answerWith((request) => request.socket.destroy());
    vi.advanceTimersByTime(3_599_000);
    for (let i = 0; i < 10; i++) {
      expect(await told(newKey)).toBe("UNAVAILABLE");
      expect(await told(oldKey)).toBe("OK");
    }
    vi.advanceTimersByTime(2_000);
    for (let i = 0; i < 10; i++) expect(await told(oldKey)).toBe("UNAVAILABLE");
    provider.publish(newKey.jwk);
    vi.advanceTimersByTime(3_000);
    expect(await told(newKey)).toBe("OK");
    expect(await told(oldKey)).toBe("UNAUTHENTICATED");
  });
});
