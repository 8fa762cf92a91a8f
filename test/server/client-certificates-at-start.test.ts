// Where no client can show a certificate, an authenticator that reads it is told when the server is made (A5).
import { Buffer } from "node:buffer";
import { beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { allOf } from "../../src/middleware/authentication/all-of.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import type { SecureServerOptions } from "../../src/server/server-options.ts";
import { kindsDefinition } from "../harness/kinds.ts";
import { theWorld, type World } from "../harness/secured.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

const keys = (): Authenticator => apiKey({ store: memoryApiKeyStore([]) });
const pair = (): { readonly cert: Buffer; readonly key: Buffer } => ({
  cert: Buffer.from(world.server.cert),
  key: Buffer.from(world.server.key),
});

function problemsOf(
  authentication: Authenticator,
  tls: SecureServerOptions["tls"],
): readonly string[] | undefined {
  try {
    createSecureServer({ tls, authentication, authorization: allowAuthenticated(), logger: false });
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

const bound = (certificateBound: "require" | "if-present"): Authenticator =>
  jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri, certificateBound });

const users: readonly (readonly [what: string, authentication: () => Authenticator])[] = [
  ["jwt whose tokens must be bound to a certificate", () => bound("require")],
  ["mtls", () => mtls()],
  ["mtls, optional", () => optional(mtls())],
  ["mtls beside another", () => anyOf(keys(), mtls())],
  ["mtls as the application's credential", () => allOf({ principal: keys(), actor: mtls() })],
  [
    "mtls in a combination of combinations",
    () => anyOf(keys(), optional(allOf({ principal: mtls(), actor: keys() }))),
  ],
];

describe.each(users)("%s", (_what, authentication) => {
  it("A5 does not start where no client is asked for a certificate", () => {
    expect(problemsOf(authentication(), pair())).toEqual([
      expect.stringMatching(/^authentication: (mtls|jwt\(.*\)) needs tls\.clientCa, the roots/),
    ]);
  });

  it("A5 does not start on loopback without TLS", () => {
    expect(problemsOf(authentication(), { plaintext: "loopback" })).toEqual([
      expect.stringMatching(
        /^authentication: (mtls|jwt\(.*\)) reads client certificates.* "loopback".*use TLS/,
      ),
    ]);
  });

  it.each(["require", "request"] as const)('A5 starts with clientCa and clientAuth "%s"', (clientAuth) => {
    const clientCa = Buffer.from(world.ca.caPem);
    expect(problemsOf(authentication(), { ...pair(), clientCa, clientAuth })).toBeUndefined();
  });

  it("A5 T8 starts behind a mesh, which forwards the certificate", () => {
    const mesh = { plaintext: "mesh", trustForwardedClientCertFrom: ["unix"] } as const;
    expect(problemsOf(authentication(), mesh)).toBeUndefined();
  });

  it("A5 starts on a server of others, whose TLS is not seen", async () => {
    const interceptors = secureInterceptors({
      authentication: authentication(),
      authorization: allowAuthenticated(),
      services: [kindsDefinition],
      logger: false,
    });
    expect(interceptors).toHaveLength(1);
    await interceptors.close();
  });
});

it("A5 an authenticator that reads no certificate starts without clientCa", () => {
  expect(problemsOf(keys(), pair())).toBeUndefined();
  expect(problemsOf(keys(), { plaintext: "loopback" })).toBeUndefined();
  expect(problemsOf(bound("if-present"), pair())).toBeUndefined();
});
