// Starts the service, makes every call, and stops everything again.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type AuditEntry,
  bearerToken,
  type CredentialSource,
  createSecureClient,
  issueApiKey,
  type SecureServer,
} from "grpc-palisade";
import { pino } from "pino";
import { createTokenIssuer, type SignOptions, type TokenIssuer } from "../../src/testing/token-issuer.ts";
import { maxStreamMs } from "./calls/limits.ts";
import { clientTls, makeCertificates } from "./certificates.ts";
import type { Demo, DemoCall, LogLine, Seen } from "./demo-call.ts";
import { eventually } from "./eventually.ts";
import { audience, createOrdersServer } from "./server.ts";
import { OrdersClient } from "./service.ts";

export interface Row {
  readonly call: string;
  readonly expected: string;
  readonly seen: Seen;
  readonly ok: boolean;
}

export interface Outcome {
  readonly rows: readonly Row[];
  /** The audit file, line by line. */
  readonly auditLines: readonly string[];
  /** Errors that nobody caught, those after the last row included. */
  readonly uncaught: readonly string[];
}

/** Makes the calls one after the other, against one server in this process. */
export async function runDemo(calls: readonly DemoCall[]): Promise<Outcome> {
  await makeCertificates();
  const directory = await mkdtemp(join(tmpdir(), "palisade-orders-"));
  const uncaught: string[] = [];
  const onUncaught = (error: unknown): void => {
    uncaught.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  };
  // Remembered instead of ending the process, so that the table is there to read; the run fails all the same.
  process.on("uncaughtException", onUncaught).on("unhandledRejection", onUncaught);
  try {
    await using world = await startWorld(directory, uncaught);
    const rows: Row[] = [];
    for (const call of calls) rows.push(await makeRow(call, world));
    await world.stop();
    return { rows, auditLines: await world.auditLines(), uncaught };
  } finally {
    process.off("uncaughtException", onUncaught).off("unhandledRejection", onUncaught);
    await rm(directory, { recursive: true, force: true });
  }
}

const longestCallMs = 10_000;

async function makeRow(demoCall: DemoCall, demo: Demo): Promise<Row> {
  const { call, expected } = demoCall;
  const seen = await Promise.race([
    demoCall.make(demo),
    sleep(longestCallMs, `no end within ${longestCallMs} ms`, { ref: false }),
  ]).then(
    (answer) => (typeof answer === "string" ? { result: answer } : answer),
    (error: unknown) => ({ result: `failed: ${error instanceof Error ? error.message : String(error)}` }),
  );
  return { call, expected, seen, ok: seen.result === expected };
}

interface Parts {
  /** For files that are gone afterwards. */
  readonly directory: string;
  readonly uncaught: readonly string[];
  readonly server: SecureServer;
  readonly port: number;
  readonly issuer: TokenIssuer;
  readonly apiKeys: Demo["apiKeys"];
}

async function startWorld(directory: string, uncaught: readonly string[]): Promise<World> {
  const rights = { permissions: ["order:read", "order:write"], tenant: "acme" };
  const good = issueApiKey({ owner: "billing", ...rights });
  const revoked = issueApiKey({ owner: "former-partner", ...rights });
  const issuer = await createTokenIssuer({ audience, algorithms: ["ES256", "RS256"] });
  try {
    const server = createOrdersServer({
      issuer,
      apiKeys: [good.record, { ...revoked.record, revoked: true }],
      auditFile: auditFileIn(directory),
      deadline: { maxStreamMs },
      logger: pino(pino.destination({ dest: logFileIn(directory), sync: true })),
    });
    const { port } = await server.listen("127.0.0.1:0");
    const apiKeys = { good: good.key, revoked: revoked.key };
    return new World({ directory, uncaught, server, port, issuer, apiKeys });
  } catch (error) {
    await issuer.close();
    throw error;
  }
}

function auditFileIn(directory: string): string {
  return join(directory, "audit.jsonl");
}

function logFileIn(directory: string): string {
  return join(directory, "orders.log");
}

class World implements Demo, AsyncDisposable {
  readonly port: number;
  readonly issuer: TokenIssuer;
  readonly apiKeys: Demo["apiKeys"];
  readonly uncaught: readonly string[];
  readonly #directory: string;
  readonly #server: SecureServer;
  readonly #open: { close(): unknown }[] = [];

  constructor({ directory, uncaught, server, port, issuer, apiKeys }: Parts) {
    this.#directory = directory;
    this.#server = server;
    this.uncaught = uncaught;
    this.port = port;
    this.issuer = issuer;
    this.apiKeys = apiKeys;
  }

  get target(): string {
    return `localhost:${this.port}`;
  }

  token(claims: Readonly<Record<string, unknown>> = {}, options: SignOptions = {}): Promise<string> {
    return this.issuer.sign({ sub: "ada", tenant: "acme", roles: ["customer"], ...claims }, options);
  }

  client(credentials?: CredentialSource): OrdersClient {
    return this.closeLater(
      createSecureClient(OrdersClient, this.target, {
        tls: clientTls,
        ...(credentials === undefined ? {} : { credentials }),
      }),
    );
  }

  as(subject: string, role: "customer" | "admin"): OrdersClient {
    return this.client(bearerToken(() => this.token({ sub: subject, roles: [role] })));
  }

  audited(match: (entry: AuditEntry) => boolean): Promise<AuditEntry> {
    return eventually("such audit entry", async () =>
      (await this.auditLines()).map((line): AuditEntry => JSON.parse(line)).find(match),
    );
  }

  async log(): Promise<readonly LogLine[]> {
    return (await linesOf(logFileIn(this.#directory))).map((line): LogLine => JSON.parse(line));
  }

  logged(match: (line: LogLine) => boolean): Promise<LogLine> {
    return eventually("such log line", async () => (await this.log()).find(match));
  }

  closeLater<T extends { close(): unknown }>(resource: T): T {
    this.#open.push(resource);
    return resource;
  }

  auditLines(): Promise<readonly string[]> {
    return linesOf(auditFileIn(this.#directory));
  }

  /** Safe to call twice. The audit file is whole afterwards. */
  async stop(): Promise<void> {
    for (const resource of this.#open.splice(0)) resource.close();
    await this.#server.shutdown({ graceMs: 1_000 });
    await this.issuer.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Whole lines only: the last one may still be on its way. */
async function linesOf(path: string): Promise<readonly string[]> {
  return (await readFile(path, "utf8")).split("\n").slice(0, -1);
}
