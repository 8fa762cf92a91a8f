// Over https to a provider: its certificate is always verified, for the metadata, the keys, the token endpoint and the introspection
// endpoint alike, and nothing in the environment turns that off (A2, A4, K2).
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type CertificateRequest,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import { runNode } from "../harness/child-process.ts";
import { signed, signingKey } from "../middleware/authentication/identity-provider.ts";
import type { Answers, Provider, Questions } from "./ask-over-https.ts";
import { active } from "./introspection-endpoint.ts";

const program = fileURLToPath(new URL("./ask-over-https.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "https-endpoints-"));
const caFile = join(folder, "ca.crt");
const audience = "kinds";
const client = { id: "orders", secret: "s3cr3t-of-the-client" };
const opaqueToken = "opaque-t0ken-of-ada";
const key = signingKey("ES256");
const dayMs = 86_400_000;

function tokenOf(issuer: string): string {
  const exp = Math.floor(Date.now() / 1_000) + 86_400;
  const header = { alg: key.alg, kid: key.kid };
  return signed(key, header, { iss: issuer, aud: audience, sub: "ada", exp });
}

const issuedToken = tokenOf("issued");

const certificates = {
  good: { dnsNames: ["localhost"] },
  "another host": { dnsNames: ["elsewhere.example"] },
  expired: {
    dnsNames: ["localhost"],
    notBefore: new Date(Date.now() - 2 * dayMs),
    notAfter: new Date(Date.now() - dayMs),
  },
} satisfies Readonly<Record<string, CertificateRequest>>;
type Name = keyof typeof certificates;
const names = Object.keys(certificates) as Name[];

const ca = await createCertificateAuthority();
const servers: Server[] = [];
const ports: Record<Name, number> = { good: 0, "another host": 0, expired: 0 };
/** The requests that each server read, of which none had to be. */
const asked: Record<Name, string[]> = { good: [], "another host": [], expired: [] };
let grpc: IssuedCertificate;

const originOf = (name: Name): string => `https://localhost:${ports[name]}`;

/** The server of a good certificate has metadata, under a path, that leads to the endpoints of each. */
const slug = (name: Name): string => name.replaceAll(" ", "-");
const issuerVia = (name: Name): string => `${originOf("good")}/to/${slug(name)}`;

function answer(name: Name, request: IncomingMessage, response: ServerResponse): void {
  const path = request.url ?? "";
  asked[name].push(path);
  const json = (value: unknown): void => {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
  };
  const metadata = (issuer: string, origin: string): void =>
    json({
      issuer,
      jwks_uri: `${origin}/jwks`,
      token_endpoint: `${origin}/token`,
      introspection_endpoint: `${origin}/introspect`,
    });
  const led = names.find((each) => path === `/to/${slug(each)}/.well-known/openid-configuration`);
  if (led !== undefined) metadata(issuerVia(led), originOf(led));
  else if (path === "/.well-known/openid-configuration") metadata(originOf(name), originOf(name));
  else if (path === "/jwks") json({ keys: [key.jwk] });
  else if (path === "/token") json({ access_token: issuedToken, token_type: "Bearer", expires_in: 3_600 });
  else if (path === "/introspect") json(active({ iss: undefined, aud: audience }));
  else response.writeHead(404).end();
}

function provider(name: string, issuer: string, of: Name): Provider {
  return {
    name,
    issuer,
    token: tokenOf(issuer),
    tokenEndpoint: `${originOf(of)}/token`,
    introspectionEndpoint: `${originOf(of)}/introspect`,
  };
}

/** What a process with this environment gets of all providers. */
async function ask(env: NodeJS.ProcessEnv): Promise<Answers & { readonly output: string }> {
  const questions: Questions = {
    tls: { ca: ca.caPem, cert: grpc.cert, key: grpc.key },
    client,
    audience,
    opaqueToken,
    key: key.jwk,
    providers: [
      ...names.map((name) => provider(name, originOf(name), name)),
      ...names.map((name) => provider(`good metadata, ${name} endpoints`, issuerVia(name), name)),
    ],
  };
  const { code, stdout, stderr } = await runNode(
    ["--import", import.meta.resolve("tsx"), program, JSON.stringify(questions)],
    { env: { PATH: process.env["PATH"], TEST_TIME_SCALE: process.env["TEST_TIME_SCALE"], ...env } },
  );
  expect(code, stderr).toBe(0);
  return { ...(JSON.parse(stdout) as Answers), output: stdout + stderr };
}

beforeAll(async () => {
  writeFileSync(caFile, ca.caPem);
  grpc = await ca.issue({ ...certificates.good, usage: "server" });
  for (const name of names) {
    const server = createServer(
      await ca.issue({ ...certificates[name], usage: "server" }),
      (request, response) => answer(name, request, response),
    );
    server.on("tlsClientError", () => {});
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    servers.push(server);
    ports[name] = (server.address() as AddressInfo).port;
  }
});

beforeEach(() => {
  for (const name of names) asked[name].length = 0;
});

afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

const trusted: NodeJS.ProcessEnv = { NODE_EXTRA_CA_CERTS: caFile };
const unverified: NodeJS.ProcessEnv = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
const ok = "OK OK";
const away = "UNAVAILABLE temporarily unavailable";
const allGood = {
  jwt: ok,
  introspection: ok,
  introspectionEndpoint: ok,
  clientCredentials: ok,
  tokenEndpoint: ok,
};

/** Nobody gets in, and who asks for a token is told why. */
function refusedFor(reason: string, what = "the token endpoint could not be asked") {
  const noToken = (failed: string): unknown =>
    expect.stringMatching(`^UNAVAILABLE .*: no token: ${failed}: it failed \\(${reason}\\)$`);
  return {
    jwt: away,
    introspection: away,
    introspectionEndpoint: away,
    clientCredentials: noToken(what),
    tokenEndpoint: noToken("the token endpoint could not be asked"),
  };
}
const noMetadata = "the issuer's metadata could not be read";

function expectNoSecrets(output: string): void {
  for (const secret of [client.secret, btoa(`${client.id}:${client.secret}`), opaqueToken, issuedToken])
    expect(output).not.toContain(secret);
}

describe("a provider over https", () => {
  it.each([
    ["verified by a CA that NODE_EXTRA_CA_CERTS names", trusted],
    ["the same with NODE_TLS_REJECT_UNAUTHORIZED=0", { ...trusted, ...unverified }],
  ] as const)("A2 A4 K2 is asked where its certificate is good, and nowhere else: %s", async (_how, env) => {
    const { calls, output } = await ask(env);
    const [ofHost, ofTime] = ["ERR_TLS_CERT_ALTNAME_INVALID", "CERT_HAS_EXPIRED"] as const;
    expect(calls).toEqual({
      good: allGood,
      "another host": refusedFor(ofHost, noMetadata),
      expired: refusedFor(ofTime, noMetadata),
      "good metadata, good endpoints": allGood,
      "good metadata, another host endpoints": refusedFor(ofHost),
      "good metadata, expired endpoints": refusedFor(ofTime),
    });
    expect(asked).toMatchObject({ "another host": [], expired: [] });
    expectNoSecrets(output);
  });

  it.each([
    ["without NODE_EXTRA_CA_CERTS", {}],
    ["with NODE_TLS_REJECT_UNAUTHORIZED=0", unverified],
  ] as const)("A2 A4 K2 of an unknown CA gets no request, no secret and no token: %s", async (_how, env) => {
    const { calls, output } = await ask(env);
    const refused = refusedFor("[A-Z_]+", noMetadata);
    expect(Object.keys(calls)).toHaveLength(2 * names.length);
    for (const each of Object.values(calls)) expect(each).toEqual(refused);
    expect(asked).toEqual({ good: [], "another host": [], expired: [] });
    expectNoSecrets(output);
  });
});
