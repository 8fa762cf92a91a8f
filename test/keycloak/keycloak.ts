// A real Keycloak on a free port, in memory, with one realm: users, clients that authenticate in different ways, and ES256 keys.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { exportJWK, exportPKCS8, generateKeyPair } from "jose";
import { runWell } from "../clients/run.ts";
import { installed, installTimeoutMs } from "../clients/tools.ts";
import { type Ended, run } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";

const version = "26.7.3";
const unpack = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack";

/** How long it may take until it answers: minutes on a small machine. */
const startTimeoutMs = 900_000;

/** What the service under test is called in tokens. */
export const audience = "kinds";

interface Client {
  readonly id: string;
  readonly secret: string;
}

export interface Keycloak extends AsyncDisposable {
  readonly issuer: string;
  /** Gets tokens for itself and for users, and exchanges them. */
  readonly billing: Client;
  /** Gets tokens for itself, by a signed assertion. */
  readonly signing: { readonly id: string; readonly privateKey: string; readonly keyId: string };
  /** Its tokens are for nobody. */
  readonly stranger: Client;
  /** May get no tokens for itself: it has no service account. */
  readonly desk: Client;
  /** The service itself: it asks about tokens. */
  readonly service: Client;
  /** The answer of the token endpoint for ada, who has the role `caller`. */
  signIn(client?: Client): Promise<Tokens>;
  /** The token is good no more (RFC 7009). */
  revoke(token: string): Promise<void>;
  /** From here on tokens are signed with a new key. */
  rotate(): Promise<void>;
}

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
  readonly id_token: string;
}

export async function startKeycloak(): Promise<Keycloak> {
  const home = join(await distribution(), `keycloak-${version}`);
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const stop = new AbortController();
  const ended = start(home, port, stop.signal);
  await Promise.race([
    answers(`${base}/realms/master`, stop.signal),
    ended.then(({ stdout, stderr }) => Promise.reject(new Error(`Keycloak ended:\n${stdout}${stderr}`))),
  ]);
  const admin = new Admin(base);
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const keyId = "signing-key";
  const jwks = JSON.stringify({
    keys: [{ ...(await exportJWK(publicKey)), kid: keyId, alg: "ES256", use: "sig" }],
  });
  await admin.post("/admin/realms", realm(jwks));
  await admin.addKey(100);
  const issuer = `${base}/realms/shop`;
  const endpoint = (
    path: string,
    client: Client,
    fields: Readonly<Record<string, string>>,
  ): Promise<Response> =>
    posted(`${issuer}/protocol/openid-connect/${path}`, {
      client_id: client.id,
      client_secret: client.secret,
      ...fields,
    });
  let keys = 100;
  return {
    issuer,
    billing,
    stranger,
    desk,
    service,
    signing: { id: "signing", privateKey: await exportPKCS8(privateKey), keyId },
    async signIn(client = billing) {
      const response = await endpoint("token", client, {
        grant_type: "password",
        username: "ada",
        password: "s3cr3t",
        scope: "openid",
      });
      return (await response.json()) as Tokens;
    },
    async revoke(token) {
      await endpoint("revoke", billing, { token });
    },
    async rotate() {
      keys += 1;
      await admin.addKey(keys);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

const billing: Client = { id: "billing", secret: "billing-secret" };
const stranger: Client = { id: "stranger", secret: "stranger-secret" };
const desk: Client = { id: "desk", secret: "desk-secret" };
const service: Client = { id: audience, secret: "service-secret" };

function distribution(): Promise<string> {
  const artifact = `org.keycloak:keycloak-quarkus-dist:${version}:zip`;
  return installed({
    name: "keycloak",
    pins: `${unpack} ${artifact}`,
    async make(directory) {
      const maven = ["--batch-mode", "--quiet", unpack, `-Dartifact=${artifact}`];
      // Without a project Maven leaves its marker files where it runs.
      await runWell("mvn", [...maven, `-DoutputDirectory=${directory}`], {
        cwd: directory,
        timeoutMs: installTimeoutMs,
      });
      if (!existsSync(join(directory, `keycloak-${version}`)))
        throw new Error("Keycloak's archive is not what it was");
    },
  });
}

function start(home: string, port: number, stopped: AbortSignal): Promise<Ended> {
  const script = join(home, "bin/kc.sh");
  const network = ["--http-host=127.0.0.1", `--http-port=${port}`];
  let pid: number | undefined;
  // It leads a process group, with Java in it, and has said something before anybody is done with it.
  stopped.addEventListener("abort", () => {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  });
  return run("sh", [script, "start-dev", ...network, "--db=dev-mem"], {
    timeoutMs: 3_600_000,
    env: {
      ...process.env,
      KC_BOOTSTRAP_ADMIN_USERNAME: "admin",
      KC_BOOTSTRAP_ADMIN_PASSWORD: "admin",
      JAVA_OPTS_KC_HEAP: "-Xms64m -Xmx640m",
    },
    onOutput: (_stdout, started) => {
      pid = started;
    },
  });
}

async function answers(url: string, stopped: AbortSignal): Promise<void> {
  const until = performance.now() + startTimeoutMs;
  while (performance.now() < until && !stopped.aborted) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`Keycloak did not answer within ${startTimeoutMs} ms`);
}

async function posted(url: string, fields: Readonly<Record<string, string>>): Promise<Response> {
  const response = await fetch(url, { method: "POST", body: new URLSearchParams(fields) });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return response;
}

class Admin {
  readonly #base: string;

  constructor(base: string) {
    this.#base = base;
  }

  async post(path: string, body: object): Promise<void> {
    const response = await fetch(`${this.#base}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${await this.#token()}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }

  /** The key with the highest priority signs. */
  addKey(priority: number): Promise<void> {
    return this.post("/admin/realms/shop/components", {
      name: `ecdsa-${priority}`,
      providerId: "ecdsa-generated",
      providerType: "org.keycloak.keys.KeyProvider",
      config: {
        priority: [String(priority)],
        ecdsaEllipticCurveKey: ["P-256"],
        enabled: ["true"],
        active: ["true"],
      },
    });
  }

  /** It lives for a minute. */
  async #token(): Promise<string> {
    const response = await posted(`${this.#base}/realms/master/protocol/openid-connect/token`, {
      client_id: "admin-cli",
      grant_type: "password",
      username: "admin",
      password: "admin",
    });
    return ((await response.json()) as Tokens).access_token;
  }
}

function realm(jwks: string): object {
  const forService = {
    name: "for the service",
    protocol: "openid-connect",
    protocolMapper: "oidc-audience-mapper",
    config: { "included.client.audience": audience, "access.token.claim": "true" },
  };
  const confidential = { publicClient: false, standardFlowEnabled: false, serviceAccountsEnabled: true };
  const withSecret = ({ id, secret }: Client, more: object = {}): object => ({
    clientId: id,
    secret,
    ...confidential,
    ...more,
  });
  const serviceAccount = (id: string): object => ({
    username: `service-account-${id}`,
    enabled: true,
    serviceAccountClientId: id,
    realmRoles: ["caller"],
  });
  return {
    realm: "shop",
    enabled: true,
    sslRequired: "none",
    defaultSignatureAlgorithm: "ES256",
    revokeRefreshToken: true,
    roles: { realm: [{ name: "caller" }] },
    clients: [
      withSecret(billing, {
        directAccessGrantsEnabled: true,
        attributes: { "standard.token.exchange.enabled": "true" },
        protocolMappers: [forService],
      }),
      withSecret(stranger, { directAccessGrantsEnabled: true }),
      withSecret(desk, { serviceAccountsEnabled: false }),
      withSecret(service),
      {
        clientId: "signing",
        clientAuthenticatorType: "client-jwt",
        ...confidential,
        attributes: { "use.jwks.string": "true", "jwks.string": jwks },
        protocolMappers: [forService],
      },
    ],
    users: [
      {
        username: "ada",
        enabled: true,
        email: "ada@shop.example",
        emailVerified: true,
        firstName: "Ada",
        lastName: "Lovelace",
        credentials: [{ type: "password", value: "s3cr3t", temporary: false }],
        realmRoles: ["caller"],
      },
      serviceAccount("billing"),
      serviceAccount("signing"),
    ],
  };
}
