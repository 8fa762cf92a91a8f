// Our authorizer for gRPC authorization policies beside grpc-go's own: the same policies, the same calls by the same client.
import { Buffer } from "node:buffer";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  anonymous,
  createSecureServer,
  grpcPolicy,
  PolicyError,
  type SecureServer,
} from "../../src/index.ts";
import { acceptedTexts, refusedTexts } from "../middleware/authorization/grpc-policy/policy-texts.ts";
import {
  type Caller,
  callers,
  callsFor,
  neverMet,
  type PlannedCall,
  paths,
  randomPolicies,
  writtenPolicies,
} from "./authz-policies.ts";
import { goProgram } from "./go-programs.ts";
import { LineProgram } from "./line-program.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

interface Ready {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

interface Answer {
  /** Why grpc-go refuses the policy; empty where it does not. */
  readonly refused: string;
  /** The status of each call by name: OK, PermissionDenied, or the whole error. */
  readonly go: readonly string[] | null;
  readonly other: readonly string[] | null;
}

/** Every method answers; who may call them is the policy's to say, by the certificate alone. */
async function startServer({ ca, cert, key }: Ready): Promise<{ server: SecureServer; target: string }> {
  const server = createSecureServer({
    tls: {
      cert: Buffer.from(cert),
      key: Buffer.from(key),
      clientCa: Buffer.from(ca),
      clientAuth: "request",
    },
    authentication: anonymous(),
    authorization: grpcPolicy({ policy: { name: "none yet", allow_rules: [{ name: "everybody" }] } }),
    rateLimit: { perPeer: false, perPrincipal: false },
    logger: pino({ enabled: false }),
  });
  const serialize = (): Buffer => Buffer.alloc(0);
  const deserialize = (): object => ({});
  for (const path of paths) {
    const streams = path.endsWith("/List");
    server.addService(
      {
        call: {
          path,
          requestStream: false,
          responseStream: streams,
          requestSerialize: serialize,
          requestDeserialize: deserialize,
          responseSerialize: serialize,
          responseDeserialize: deserialize,
        },
      },
      {
        call: streams
          ? (stream: { end(message: object): void }) => stream.end({})
          : (_: unknown, respond: (error: null, message: object) => void) => respond(null, {}),
      },
    );
  }
  const { port } = await server.listen("127.0.0.1:0");
  return { server, target: `127.0.0.1:${port}` };
}

describe.skipIf(lacks("go"))("grpc-go's authorization policies", () => {
  let program: LineProgram;
  let server: SecureServer;
  let target: string;
  let decisions = 0;
  let allowed = 0;

  beforeAll(async () => {
    program = new LineProgram(await goProgram("authz"));
    const order: { readonly callers: readonly Caller[]; readonly paths: readonly string[] } = {
      callers,
      paths,
    };
    ({ server, target } = await startServer(await program.ask<Ready>(order)));
  }, installTimeoutMs);
  afterAll(async () => {
    program?.end();
    await server?.shutdown({ graceMs: 0 });
  });

  /** What differs, in words; nothing is what it should be. And how many calls grpc-go allowed. */
  async function compare(
    text: string,
    calls: readonly PlannedCall[],
  ): Promise<{ readonly differences: readonly string[]; readonly met: number }> {
    server.setAuthorization(grpcPolicy({ policy: text }));
    const { refused, go, other } = await program.ask<Answer>({ policy: text, target, calls });
    expect(refused).toBe("");
    expect(go).toHaveLength(calls.length);
    decisions += calls.length;
    const met = (go ?? []).filter((code) => code === "OK").length;
    allowed += met;
    const unexpected = (go ?? []).filter((code) => code !== "OK" && code !== "PermissionDenied");
    expect(unexpected, "grpc-go answers something else").toEqual([]);
    const differences = calls.flatMap((call, i) =>
      go?.[i] === other?.[i] ? [] : [`${JSON.stringify(call)}: grpc-go ${go?.[i]}, Palisade ${other?.[i]}`],
    );
    return { differences, met };
  }

  it.each(writtenPolicies.map(([what, policy], place) => ({ what, policy, place })))(
    "Z6 decide here as there: $what",
    async ({ what, policy, place }) => {
      const { differences, met } = await compare(JSON.stringify(policy), callsFor(place));
      expect(differences).toEqual([]);
      // A condition that no call meets would compare little.
      if (what.startsWith("allowed by ")) expect(met > 0).toBe(!neverMet.has(what.slice(11)));
    },
  );

  it("Z6 decide here as there: random ones", async () => {
    for (const [place, policy] of randomPolicies.entries()) {
      const text = JSON.stringify(policy);
      expect((await compare(text, callsFor(1000 + place))).differences, text).toEqual([]);
    }
  });

  it("Z6 were compared in 5,000 decisions and more, of both kinds", () => {
    expect(writtenPolicies.length + randomPolicies.length).toBeGreaterThanOrEqual(60);
    expect(decisions).toBeGreaterThanOrEqual(5_000);
    expect(allowed).toBeGreaterThan(decisions / 5);
    expect(allowed).toBeLessThan((decisions * 4) / 5);
  });

  const refusal = async (text: string): Promise<string> =>
    (await program.ask<Answer>({ policy: text, target, calls: [] })).refused;

  it.each(refusedTexts.filter(({ stricter }) => stricter !== true))(
    "Z6 are refused there too: $what",
    async ({ text }) => {
      expect(await refusal(text)).not.toBe("");
      expect(() => grpcPolicy({ policy: text })).toThrow(PolicyError);
    },
  );

  it.each(refusedTexts.filter(({ stricter }) => stricter === true))(
    "Z6 are accepted there, and here refused for a reason: $what",
    async ({ text }) => {
      expect(await refusal(text)).toBe("");
      expect(() => grpcPolicy({ policy: text })).toThrow(PolicyError);
    },
  );

  it.each(acceptedTexts)("Z6 are accepted there too: %s", async (_, text) => {
    expect(await refusal(text)).toBe("");
    expect(() => grpcPolicy({ policy: text })).not.toThrow();
  });
});
