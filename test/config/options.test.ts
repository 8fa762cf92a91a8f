// What a wrong option says is in our words, and never shows its value (O5).
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { parseOptions } from "../../src/config/options.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { serverSchema } from "../../src/server/server-options.ts";
import { clientCredentials } from "../../src/tls/client-credentials.ts";

const good = {
  tls: { plaintext: "loopback" },
  authentication: apiKey({ store: memoryApiKeyStore([]) }),
  authorization: rbac({ rules: {} }),
};
const server = (more: object) => () => parseOptions(serverSchema, { ...good, ...more }, "");
// Wrong on purpose, as plain JavaScript may be.
const wrong = <T>(value: unknown): T => value as T;

describe("a wrong option", () => {
  it.each<readonly [what: string, make: () => unknown, problem: string]>([
    [
      "no tls",
      server({ tls: undefined }),
      'tls: expected { cert, key }, each the path of a PEM file or a Buffer; without TLS { plaintext: "loopback" }, or "mesh" behind a sidecar',
    ],
    [
      "a certificate that is an unset variable",
      server({ tls: { cert: undefined, key: "server.key" } }),
      "tls.cert: expected the path of a PEM file or a Buffer, but it is undefined; set the variable, or remove the option",
    ],
    [
      "a client CA that is an unset variable",
      server({ tls: { cert: "server.crt", key: "server.key", clientCa: undefined } }),
      "tls.clientCa: expected the path of a PEM file or a Buffer, but it is undefined; set the variable, or remove the option; leave the option out where there is none",
    ],
    [
      "a client's tls that is none",
      () => clientCredentials(wrong(undefined)),
      'tls: expected {} for the roots of this system, { ca } for your own, or without TLS { plaintext: "loopback" }',
    ],
    [
      "roles that are a text",
      () => mtls(wrong({ roles: { "CN=a": "billing" } })),
      'mtls.roles.CN=a: expected a list, not text: write ["…"]',
    ],
    [
      "a list for an object",
      () => rbac(wrong({ roles: ["admin"], rules: {} })),
      "rbac.roles: expected an object, not a list",
    ],
    ["options that are not there", () => rbac(wrong(undefined)), "rbac: expected an object; it is missing"],
    ["options that are null", () => rbac(wrong(null)), "rbac: expected an object, not null"],
    [
      "a number that is text",
      server({ limits: { maxConnections: "10" } }),
      "limits.maxConnections: expected a number, not text",
    ],
    [
      "a number that is none",
      server({ limits: { maxConnections: Number.NaN } }),
      "limits.maxConnections: expected a number, not NaN",
    ],
    [
      "half a connection",
      server({ limits: { maxConnections: 1.5 } }),
      "limits.maxConnections: expected a whole number",
    ],
    [
      "too few connections",
      server({ limits: { maxConnections: 0 } }),
      "limits.maxConnections: must be at least 1",
    ],
    [
      "too many connections",
      server({ limits: { maxConnections: 1e9 } }),
      "limits.maxConnections: must be at most 1000000",
    ],
    [
      "a period of nothing",
      server({ rateLimit: { perPeer: { points: 1, durationSec: 0 } } }),
      "rateLimit.perPeer.durationSec: must be more than 0",
    ],
    ["text for yes", server({ metrics: "yes" }), "metrics: expected true or false, not text"],
    [
      "a word that is misspelt",
      () => mtls(wrong({ unmatched: "refuze" })),
      'mtls.unmatched: expected one of "without-roles", "refuse"; did you mean "refuse"?',
    ],
    [
      "an empty list",
      () => parseOptions(z.array(z.string()).min(1), [], "list"),
      "list: expected at least 1 entry",
    ],
  ])("O5 says what to give: %s", (_what, make, problem) => {
    expect(make).toThrow(new ConfigError(problem));
  });

  it("O5 never shows its value", () => {
    for (const value of ["hunter2", ["hunter2"], { hunter2: "hunter2" }])
      for (const option of [
        "tls",
        "authentication",
        "metrics",
        "limits",
        "methods",
        "peer",
        "audit",
        "health",
      ])
        expect(server({ [option]: value })).toThrow(
          expect.objectContaining({ message: expect.not.stringMatching(/: .*hunter2/) }),
        );
  });
});
