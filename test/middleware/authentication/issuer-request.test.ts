// Whoever can change a JWK Set on its way can sign tokens: what the environment of a process cannot change.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type CertificateRequest,
  createCertificateAuthority,
} from "../../../src/testing/certificate-authority.ts";
import { runNode } from "../../harness/child-process.ts";
import { signingKey, token } from "./identity-provider.ts";

const key = signingKey("ES256");
const program = fileURLToPath(new URL("./verify-token.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "jwks-request-"));
const caFile = join(folder, "ca.crt");
const ca = await createCertificateAuthority();
const closing: (Server | TcpServer)[] = [];
let requests = 0;
let proxied = 0;
let proxy = "";

/** An identity provider over https with such a certificate. */
async function provider(certificate: CertificateRequest): Promise<string> {
  const server = createServer(await ca.issue({ usage: "server", ...certificate }), (_, response) => {
    requests += 1;
    response.end(JSON.stringify({ keys: [key.jwk] }));
  });
  server.on("tlsClientError", () => {});
  closing.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `https://localhost:${(server.address() as AddressInfo).port}/jwks`;
}

beforeAll(async () => {
  writeFileSync(caFile, ca.caPem);
  const server = createTcpServer((socket) => {
    proxied += 1;
    socket.destroy();
  });
  closing.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxy = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  for (const server of closing) server.close();
  rmSync(folder, { recursive: true });
});

const localhost: CertificateRequest = { dnsNames: ["localhost"] };
const day = 86_400_000;

interface Row {
  readonly what: string;
  readonly certificate?: CertificateRequest;
  readonly env?: () => NodeJS.ProcessEnv;
  readonly argument?: string;
  readonly verdict: RegExp;
  readonly requests: number;
}

const unverified: NodeJS.ProcessEnv = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
const trusted = (): NodeJS.ProcessEnv => ({ NODE_EXTRA_CA_CERTS: caFile });

const rows: readonly Row[] = [
  { what: "of a CA that NODE_EXTRA_CA_CERTS names", env: trusted, verdict: /^good: ada$/, requests: 1 },
  { what: "of an unknown CA", verdict: /^failure/, requests: 0 },
  {
    what: "of an unknown CA, with NODE_TLS_REJECT_UNAUTHORIZED=0",
    env: () => unverified,
    verdict: /^failure/,
    requests: 0,
  },
  {
    what: "of an unknown CA, with a global agent that verifies nothing",
    argument: "unsafe global agent",
    verdict: /^failure/,
    requests: 0,
  },
  {
    what: "of an unknown CA, with a global agent of another class that verifies nothing",
    argument: "unsafe global agent of another class",
    verdict: /^failure/,
    requests: 0,
  },
  {
    what: "for another host, with NODE_TLS_REJECT_UNAUTHORIZED=0",
    certificate: { dnsNames: ["elsewhere.example"] },
    env: () => ({ ...trusted(), ...unverified }),
    verdict: /^failure/,
    requests: 0,
  },
  {
    what: "that has expired, with NODE_TLS_REJECT_UNAUTHORIZED=0",
    certificate: {
      ...localhost,
      notBefore: new Date(Date.now() - 2 * day),
      notAfter: new Date(Date.now() - day),
    },
    env: () => ({ ...trusted(), ...unverified }),
    verdict: /^failure/,
    requests: 0,
  },
  {
    what: "that is good, with a proxy in the environment",
    env: () => ({
      ...trusted(),
      NODE_USE_ENV_PROXY: "1",
      HTTPS_PROXY: proxy,
      https_proxy: proxy,
      HTTP_PROXY: proxy,
      http_proxy: proxy,
      ALL_PROXY: proxy,
    }),
    verdict: /^good: ada$/,
    requests: 1,
  },
];

describe("the request for a JWK Set", () => {
  it.each(rows.map((row) => [row.what, row] as const))(
    "A2 a server certificate %s",
    async (_, { certificate = localhost, env, argument = "", ...expected }) => {
      const uri = await provider(certificate);
      const before = requests;
      const { code, stdout, stderr } = await runNode(
        ["--import", import.meta.resolve("tsx"), program, uri, token(key), argument],
        { env: { PATH: process.env["PATH"], ...env?.() } },
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toMatch(expected.verdict);
      expect(requests - before).toBe(expected.requests);
      expect(proxied).toBe(0);
    },
  );
});
