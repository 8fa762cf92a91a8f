// Palisade with every layer on; without records, logging and audit are off; without a metrics SDK, nobody reads the
// metrics. Limits are there and high: each call is counted, none is refused.
import { Buffer } from "node:buffer";
import { createServer } from "node:http";
import { join } from "node:path";
import {
  type Authenticator,
  createSecureServer,
  jsonLinesSink,
  jwt,
  type MemoryRevocationList,
  rbac,
  revocationList,
} from "grpc-palisade";
import { introspection } from "grpc-palisade/oauth";
import type { TokenTrust } from "../process/protocol.ts";
import { benchService, handlers, manyHandlers, manyMethods, pathOfMany, paths } from "./contract.ts";
import { fileLogger } from "./log-file.ts";
import { registerMetricsSdk } from "./metrics-sdk.ts";
import { serve } from "./serve.ts";

const highLimit = { points: 1_000_000_000, durationSec: 1 };

serve(async ({ identities, trust, directory, methods, principals, records, metricsSdk, identity }) => {
  const collect = metricsSdk ? registerMetricsSdk() : undefined;
  const everyPath = [...Object.values(paths), ...Array.from({ length: methods }, (_, at) => pathOfMany(at))];
  const signed = (): Authenticator =>
    jwt({
      issuer: trust.issuer,
      audience: trust.audience,
      keys: trust.publicKeyPem,
      algorithms: ["RS256"],
      ...(identity === "revocations" ? { revocations: someRevocations() } : {}),
      // As many as there are principals: what is measured there are many callers, not a cache that is too small.
      ...(principals > 10_000 ? { cache: { maxEntries: 2 * principals, maxAgeSec: 3_600 } } : {}),
    });
  const server = createSecureServer({
    tls: {
      cert: Buffer.from(identities.server.cert),
      key: Buffer.from(identities.server.key),
      clientCa: Buffer.from(identities.ca),
    },
    authentication: identity === "introspection" ? await introspected(trust) : signed(),
    authorization: rbac({
      roles: { caller: { permissions: ["bench:call"] }, admin: { permissions: ["*"] } },
      rules: Object.fromEntries(everyPath.map((path) => [path, { permissions: ["bench:call"] }])),
    }),
    rateLimit: { perPeer: highLimit, perPrincipal: highLimit, inFlightPerPrincipal: 1_000_000 },
    deadline: { required: true },
    limits: { maxConcurrentStreams: 100_000, maxConnectionsPerPeer: 10_000 },
    logger: records ? fileLogger(directory) : false,
    ...(records ? { audit: { sinks: [jsonLinesSink({ path: join(directory, "audit.jsonl") })] } } : {}),
  });
  server.addService(benchService, handlers);
  if (methods > 0) server.addService(manyMethods(methods), manyHandlers(methods));
  const { port } = await server.listen("127.0.0.1:0");
  return collect === undefined ? { port } : { port, collect };
});

/** As a service has it after a day: none of the tokens of the load. */
function someRevocations(): MemoryRevocationList {
  const revocations = revocationList();
  const tomorrow = Date.now() + 86_400_000;
  for (let n = 0; n < 10_000; n += 1) {
    revocations.revokeToken(`token-${n}`, tomorrow);
    revocations.revokeSubject(`subject-${n}`);
  }
  return revocations;
}

/** The issuer is asked about a token once, by this process. It lives as long. */
async function introspected({ issuer, audience }: TokenTrust): Promise<Authenticator> {
  const answer = { active: true, iss: issuer, aud: audience, sub: "principal-0", roles: ["caller"] };
  const endpoint = createServer((request, response) => {
    request.resume().once("end", () => {
      const exp = Math.floor(Date.now() / 1000) + 86_400;
      response.setHeader("content-type", "application/json").end(JSON.stringify({ ...answer, exp }));
    });
  });
  await new Promise<void>((resolve) => endpoint.listen(0, "127.0.0.1", resolve));
  endpoint.unref();
  const address = endpoint.address();
  if (address === null || typeof address === "string") throw new Error("the endpoint has no port");
  return introspection({
    issuer,
    endpoint: `http://127.0.0.1:${address.port}/introspect`,
    client: { id: "bench", secret: "bench" },
    audience,
    tokens: "all",
  });
}
