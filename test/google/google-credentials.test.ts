// Google's tokens on calls: by a metadata server and a credentials file of the test's own (K2).
import { Buffer } from "node:buffer";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { Client, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createSecureClient, type SecureClientConstructor } from "../../src/client/secure-client.ts";
import { googleCredentials } from "../../src/google/index.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { keptLog, secured, theWorld } from "../harness/secured.ts";

const call = { method: "/orders.v1.Orders/GetOrder", serviceUrl: "https://orders.internal/orders.v1.Orders" };
const secret = "s3cr3t";

let requests: string[] = [];
let answer: (path: string, response: ServerResponse, request: IncomingMessage) => void = () => {};
let close: () => Promise<void>;
let origin: string;
let directory: string;

beforeEach(async () => {
  requests = [];
  directory = await mkdtemp(join(tmpdir(), "palisade-google-"));
  const server = createServer((request, response) => {
    const path = (request.url ?? "").replace("/computeMetadata/v1", "");
    response.setHeader("metadata-flavor", "Google");
    if (path.startsWith("/universe")) {
      response.end("googleapis.com");
      return;
    }
    if (path === "/project/project-id") {
      response.end("test-project");
      return;
    }
    requests.push(path);
    request.resume().on("end", () => answer(path, response, request));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  origin = `127.0.0.1:${address.port}`;
  close = async () => {
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  vi.stubEnv("GCE_METADATA_HOST", origin);
  vi.stubEnv("METADATA_SERVER_DETECTION", "assume-present");
  vi.stubEnv("GOOGLE_APPLICATION_CREDENTIALS", "");
  // Nobody's gcloud.
  vi.stubEnv("HOME", directory);
  vi.stubEnv("APPDATA", directory);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await close();
  await rm(directory, { recursive: true });
});

const json =
  (value: unknown, code = 200) =>
  (_path: string, response: ServerResponse): void => {
    response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(value));
  };

async function failureOf(source: ReturnType<typeof googleCredentials>): Promise<StatusError> {
  try {
    throw new Error(`expected a failure, got ${inspect(await source.getCredentials(call))}`);
  } catch (error) {
    if (error instanceof StatusError) return error;
    throw error;
  }
}

describe("googleCredentials", () => {
  it("K2 puts an ID token for the audience on calls of all four kinds, fetched once from the metadata server", async () => {
    const { ca, client: certificate, issuer } = await theWorld();
    await using server = await secured({
      authentication: jwt({
        issuer: issuer.issuer,
        audience: "https://kinds.example",
        jwksUri: issuer.jwksUri,
      }),
      authorization: allowAuthenticated(),
    });
    answer = (path, response) => {
      const audience = new URL(path, "http://x").searchParams.get("audience");
      issuer.sign({ sub: "robot", aud: audience }).then((token) => response.end(token));
    };
    const client = createSecureClient(Client as unknown as SecureClientConstructor<Client>, server.address, {
      tls: {
        ca: Buffer.from(ca.caPem),
        cert: Buffer.from(certificate.cert),
        key: Buffer.from(certificate.key),
      },
      credentials: googleCredentials({ audience: "https://kinds.example" }),
      logger: false,
    });
    const all = await Promise.all(kinds.flatMap((kind) => [invoke(client, kind), invoke(client, kind)]));
    client.close();
    expect(all.map(({ code, details }) => `${code} ${details}`)).toEqual(all.map(() => "0 OK"));
    expect(requests).toEqual([
      "/instance/service-accounts/default/identity?format=full&audience=https://kinds.example",
    ]);
  });

  it("K2 sends an access token with the scopes, and renews it before it expires", async () => {
    let count = 0;
    answer = (path, response) =>
      json({ access_token: `at-${++count}`, expires_in: 3_600, token_type: "Bearer" })(path, response);
    const source = googleCredentials({ scopes: ["a", "b"] });
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    expect(requests).toEqual(["/instance/service-accounts/default/token?scopes=a%2Cb"]);
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 3_000_000);
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    await expect.poll(() => source.getCredentials(call)).toEqual({ authorization: "Bearer at-2" });
  });

  it("K5 fetches another one when a server refused the token, though the library still has it", async () => {
    let count = 0;
    answer = (path, response) => json({ access_token: `at-${++count}`, expires_in: 3_600 })(path, response);
    const source = googleCredentials();
    await source.getCredentials(call);
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 10_000);
    source.renew?.();
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-2" });
  });

  it("K2 uses the credentials file of a workload identity pool", async () => {
    await writeFile(join(directory, "subject"), "subject-token");
    await writeFile(
      join(directory, "adc.json"),
      JSON.stringify({
        type: "external_account",
        audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        token_url: `http://${origin}/sts`,
        credential_source: { file: join(directory, "subject") },
      }),
    );
    vi.stubEnv("GOOGLE_APPLICATION_CREDENTIALS", join(directory, "adc.json"));
    answer = json({
      access_token: "at-sts",
      expires_in: 3_600,
      token_type: "Bearer",
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
    });
    const source = googleCredentials();
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-sts" });
    expect(requests).toEqual(["/sts"]);
    // These cannot give ID tokens.
    const { details } = await failureOf(googleCredentials({ audience: "x", logger: false }));
    expect(details).toBe(
      "no token: these credentials give no ID tokens; use a service account or the metadata server",
    );
  });

  it.each<[string, typeof answer, RegExp]>([
    ["403 with a secret", json({ error: secret }, 403), /Google answered HTTP 403$/],
    ["404", json({ error: secret }, 404), /Google answered HTTP 404$/],
    ["no token", json({ expires_in: 3_600 }), /no token: /],
    [
      "a token with a line break",
      json({ access_token: `${secret}\r\nx: y`, expires_in: 3_600 }),
      /printable ASCII/,
    ],
    ["a token that has expired", json({ access_token: secret, expires_in: -5 }), /expired already/],
    ["nothing", () => {}, /no answer within 300 ms/],
  ])(
    "K2 ends calls UNAVAILABLE while the metadata server answers %s, and shows no secret",
    async (_name, given, says) => {
      answer = given;
      const { logger, lines } = keptLog();
      const timeoutMs = says.source.includes("300") ? 300 : 60_000;
      const source = googleCredentials({ logger, timeoutMs });
      const errors = await Promise.all([failureOf(source), failureOf(source)]);
      expect(errors[0]?.code).toBe(status.UNAVAILABLE);
      expect(errors[0]?.details).toMatch(says);
      expect(lines).toHaveLength(1);
      expect(
        `${inspect([errors, source], { depth: 20, showHidden: true })} ${JSON.stringify(lines)}`,
      ).not.toContain(secret);
    },
  );

  it("K2 says that there are no credentials where there are none", async () => {
    vi.stubEnv("METADATA_SERVER_DETECTION", "none");
    const { details } = await failureOf(googleCredentials({ logger: false }));
    expect(details).toBe("no token: there are no application default credentials");
  });

  it.each<[string, unknown, string]>([
    [
      "an audience that would change the request",
      { audience: "x&format=y" },
      "googleCredentials.audience: expected printable ASCII",
    ],
    [
      "scopes of an ID token",
      { audience: "x", scopes: ["y"] },
      "googleCredentials.scopes: not with audience",
    ],
    ["no scopes", { scopes: [] }, "googleCredentials.scopes: "],
    ["an unknown option", { keyFile: "x" }, "googleCredentials.keyFile: unknown option"],
  ])("K2 refuses %s", (_name, options, says) => {
    expect(() => googleCredentials(options as never)).toThrow(ConfigError);
    expect(() => googleCredentials(options as never)).toThrow(says);
  });
});
