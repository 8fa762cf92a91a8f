// What was accepted before jose verified the signatures: 48,000 mutated tokens, and the verdicts of the verifier that stood
// here until then, as a fixture. `RECORD_VERDICTS=1` writes the fixture anew, from whatever verifier there is.
import { Buffer } from "node:buffer";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { type JwtOptions, jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import { audience, issuer } from "./identity-provider.ts";
import { incomingCall, verdict } from "./incoming-call.ts";
import { bare, mutatedTokens, mutationKeys, mutationNow } from "./mutated-tokens.ts";

interface Fixture {
  readonly seed: number;
  readonly count: number;
  readonly acceptedCount: number;
  /** A bit for each token, the first one in the lowest bit of the first byte; deflated, in base64. */
  readonly accepted: string;
}

const file = join(import.meta.dirname, "mutated-tokens.json");
const keys = mutationKeys();
const { RS256, PS256, ES256, ES384, EdDSA } = keys.own;
const all = [RS256, PS256, ES256, ES384, EdDSA];

/** Token 0 is for the first of these, token 1 for the second, and so on in turns. */
const configurations: readonly Partial<JwtOptions>[] = [
  {},
  {},
  { keys: all.map(bare) },
  { keys: [...Object.values(keys.foreign).map(bare), ...all.map(({ jwk }) => jwk)] },
  { keys: [...all.map(({ jwk: { alg: _, ...jwk } }) => jwk), ...all.map(bare)] },
  { typ: "at+jwt", audience: ["billing", audience] },
  { maxTokenAgeSec: 12, clockToleranceSec: 0 },
  { algorithms: ["ES256", "PS256"], certificateBound: "ignore", requiredClaims: ["jti"] },
];

function authenticators(): readonly Authenticator[] {
  const options = { issuer, audience, keys: all.map(({ jwk }) => jwk), cache: { maxEntries: 100 } };
  return configurations.map((configuration) => jwt({ ...options, ...configuration }));
}

/** Any text, also one that grpc-js would not take for metadata. */
function bringing(token: string) {
  const call = incomingCall();
  call.metadata.get = (name) => (name === "authorization" ? [`Bearer ${token}`] : []);
  return call;
}

interface Judged {
  readonly index: number;
  readonly what: string;
  readonly said: string;
}

async function judge(seed: number, count: number): Promise<readonly Judged[]> {
  const judges = authenticators();
  const judged: Judged[] = [];
  for (const { what, token } of mutatedTokens(seed, count, keys)) {
    const index = judged.length;
    const authenticator = judges[index % judges.length];
    if (authenticator === undefined) throw new Error("there is an authenticator for each configuration");
    judged.push({ index, what, said: await verdict(authenticator, bringing(token)) });
  }
  return judged;
}

function isAccepted({ said }: Judged): boolean {
  return said.startsWith("good: ");
}

function record(seed: number, judged: readonly Judged[]): void {
  const bits = Buffer.alloc(Math.ceil(judged.length / 8));
  const accepted = judged.filter(isAccepted);
  for (const { index } of accepted) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
  const fixture: Fixture = {
    seed,
    count: judged.length,
    acceptedCount: accepted.length,
    accepted: deflateRawSync(bits, { level: 9 }).toString("base64"),
  };
  writeFileSync(file, `${JSON.stringify(fixture, null, 2)}\n`);
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: mutationNow * 1000 });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("48,000 mutated tokens", () => {
  it("A1 none is accepted that the verifier before jose refused, and what it accepted is accepted", async () => {
    const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;
    const judged = await judge(fixture.seed, fixture.count);
    if (process.env["RECORD_VERDICTS"] === "1") record(fixture.seed, judged);
    const { acceptedCount, accepted } = JSON.parse(readFileSync(file, "utf8")) as Fixture;
    const bits = inflateRawSync(Buffer.from(accepted, "base64"));
    const wasAccepted = ({ index }: Judged): boolean => (((bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;
    expect(judged.filter(wasAccepted)).toHaveLength(acceptedCount);
    expect(judged.filter((token) => isAccepted(token) && !wasAccepted(token))).toEqual([]);
    expect(judged.filter((token) => !isAccepted(token) && wasAccepted(token))).toEqual([]);
    // No answer says that the token is bad where something of ours is broken.
    expect(judged.filter(({ said }) => said.startsWith("failure"))).toEqual([]);
  });
});
