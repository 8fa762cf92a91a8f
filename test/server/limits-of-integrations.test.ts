// What was added to the limits, where a sidecar or somebody else's server stands before it (T8, C6).
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ConfigError } from "../../src/grpc/errors.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import type { SecureInterceptorsOptions } from "../../src/server/server-options.ts";
import { goodHandlers, invoke, kindsDefinition, paths } from "../harness/kinds.ts";
import { callerPolicy, keptLog, secured, theWorld } from "../harness/secured.ts";

function xfcc(n: number): string {
  return `Hash=${String(n).repeat(64)};Subject="";URI=spiffe://mesh.example/${n}`;
}

async function behindMesh(options: Parameters<typeof secured>[0] = {}) {
  const wall = await secured({
    tls: { plaintext: "mesh", trustForwardedClientCertFrom: ["127.0.0.1"] },
    ...options,
  });
  const sidecar = new Client(`127.0.0.1:${wall.port}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const good = await wall.authorized();
  const told = async (headers: Readonly<Record<string, string>>): Promise<string> =>
    (await invoke(sidecar, "unary", { metadata: { ...good, ...headers } })).details;
  return { wall, sidecar, told };
}

describe("behind a mesh", () => {
  it("L8 the failures of one client are not held against the others of the same sidecar", async () => {
    const { wall, sidecar, told } = await behindMesh({
      rateLimit: { failedAuthentication: { points: 2, durationSec: 600 } },
    });
    const guess = { authorization: "Bearer guess", "x-forwarded-client-cert": xfcc(1) };
    expect([await told(guess), await told(guess), await told(guess)]).toEqual([
      "invalid credentials",
      "invalid credentials",
      "rate limit exceeded",
    ]);
    expect(await told({ ...guess, authorization: "Bearer another" })).toBe("rate limit exceeded");
    expect(await told({ "x-forwarded-client-cert": xfcc(2) })).toBe("OK");
    // Without a certificate nobody can tell who it is: each credential by itself.
    expect([await told({ authorization: "Bearer x" }), await told({ authorization: "Bearer x" })]).toEqual([
      "invalid credentials",
      "invalid credentials",
    ]);
    expect(await told({ authorization: "Bearer x" })).toBe("rate limit exceeded");
    expect(await told({})).toBe("OK");
    sidecar.close();
    await wall.close();
  });

  it("T8 a forwarded address does not hide a forwarded certificate that cannot be believed", async () => {
    const { wall, sidecar, told } = await behindMesh({
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
      rateLimit: { perPeer: { points: 2, durationSec: 600 } },
    });
    expect(await told({ "x-forwarded-client-cert": "nonsense", "x-forwarded-for": "192.0.2.1" })).toBe(
      "invalid credentials",
    );
    // One certificate is one peer, from wherever it comes.
    const same = (address: string) =>
      told({ "x-forwarded-client-cert": xfcc(1), "x-forwarded-for": address });
    expect([await same("192.0.2.2"), await same("192.0.2.3"), await same("192.0.2.4")]).toEqual([
      "OK",
      "OK",
      "rate limit exceeded",
    ]);
    expect(await told({ "x-forwarded-for": "192.0.2.4" })).toBe("OK");
    sidecar.close();
    await wall.close();
  });
});

async function interceptorsOf(options: Partial<SecureInterceptorsOptions>) {
  const world = await theWorld();
  const { logger, lines } = keptLog();
  const interceptors = secureInterceptors({
    authentication: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
    authorization: callerPolicy,
    services: [kindsDefinition],
    logger,
    ...options,
  });
  return { interceptors, lines, authorization: `Bearer ${await world.token()}` };
}

describe("on somebody else's server", () => {
  it("C6 L1 L4 L7 methods, peer and validation hold there too", async () => {
    const { interceptors, lines, authorization } = await interceptorsOf({
      methods: {
        [paths.unary]: {
          maxReceiveMessageBytes: 100,
          rateLimit: { perPeer: { points: 4, durationSec: 600 } },
        },
      },
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
      validation: { [paths.unary]: z.object({ text: z.string().max(50) }) },
      enforce: { authorization: false },
    });
    expect(lines.map(({ msg }) => msg)).toContainEqual(expect.stringContaining("NO CALL IS REFUSED"));
    const server = new Server({ interceptors });
    server.addService(kindsDefinition, goodHandlers());
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const told = async (text: string, from: string): Promise<string> =>
      (
        await invoke(client, "unary", {
          metadata: { authorization, "x-forwarded-for": from },
          messages: [{ text }],
        })
      ).details;
    expect(await told("good", "192.0.2.1")).toBe("OK");
    expect(await told("x".repeat(60), "192.0.2.1")).toBe("invalid request");
    expect(await told("x".repeat(200), "192.0.2.1")).toBe("message too large");
    expect([await told("good", "192.0.2.1"), await told("good", "192.0.2.1")]).toEqual([
      "OK",
      "rate limit exceeded",
    ]);
    expect(await told("good", "192.0.2.2")).toBe("OK");
    client.close();
    server.forceShutdown();
    await interceptors.close();
  });

  it("C6 what only our own server can have is refused by name", async () => {
    await expect(
      interceptorsOf({ limits: { maxConnections: 5 } } as unknown as Partial<SecureInterceptorsOptions>),
    ).rejects.toThrow(/limits\.maxConnections: not accepted/);
    await expect(interceptorsOf({ methods: { "/test.v1.Kinds/Unari": {} } })).rejects.toThrow(ConfigError);
    await expect(interceptorsOf({ validation: { "/test.v1.Kinds/Unari": z.object({}) } })).rejects.toThrow(
      /did you mean "\/test\.v1\.Kinds\/Unary/,
    );
  });
});
