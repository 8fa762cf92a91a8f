// Servers with gRPC's interop service for clients that nobody here wrote: secured ones behind default options, and bare
// grpc-js beside them, with the same certificate and the same handlers.
import { Buffer } from "node:buffer";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import type { SignOptions } from "../../src/testing/token-issuer.ts";
import type { Seen } from "./interop-service.ts";
import {
  type Kind,
  kinds,
  type Mode,
  modes,
  type Order,
  type Question,
  type Report,
  type ServerName,
  type Start,
} from "./server-process.ts";

export { type Kind, kinds, type Mode, modes } from "./server-process.ts";
export type { Seen };

/** Paths of PEM files, for clients that are told paths. The server's names are `localhost` and `127.0.0.1`. */
export interface CertificateFiles {
  /** The directory that they are in; it is removed with the servers. */
  readonly directory: string;
  readonly ca: string;
  readonly clientCert: string;
  /** PKCS #8. */
  readonly clientKey: string;
}

export interface TestServer extends ServerName {
  readonly port: number;
  /** `localhost:port`; it listens on 127.0.0.1 alone. */
  readonly address: string;
  /** What came to its handlers since it started, or since `forget()`. */
  seen(): Promise<Seen>;
  forget(): Promise<void>;
}

export interface Servers extends AsyncDisposable {
  readonly files: CertificateFiles;
  server(kind: Kind, mode: Mode): TestServer;
  /** A signed token that the secured server of mode `jwt` accepts, unless it is told otherwise. */
  token(claims?: Readonly<Record<string, unknown>>, options?: SignOptions): Promise<string>;
  /** One more client certificate, for a caller of its own: its files. */
  clientCertificate(commonName: string): Promise<{ readonly cert: string; readonly key: string }>;
  /** The last lines that the secured servers logged. */
  log(lines?: number): Promise<string>;
}

/** Which servers to start. Each test file starts its own, so that no limit that one reaches is felt by another. */
export interface ServersOptions {
  /** Default: all. */
  readonly kinds?: readonly Kind[];
  /** Default: all. */
  readonly modes?: readonly Mode[];
}

export async function startServers(options: ServersOptions = {}): Promise<Servers> {
  const names = (options.kinds ?? kinds).flatMap((kind) =>
    (options.modes ?? modes).map((mode) => ({ kind, mode })),
  );
  const directory = await mkdtemp(join(tmpdir(), "palisade-clients-"));
  const { start, files, clientCertificate } = await certificates(directory, names);
  const log = join(directory, "server.log");
  const server = new ServerProcess(log);
  const ports = await server.start(start);
  const servers = names.map((name, index) => testServer(server, name, ports[index] ?? 0));
  return {
    files,
    server(kind, mode) {
      const found = servers.find((each) => each.kind === kind && each.mode === mode);
      if (found === undefined) throw new Error(`the server ${kind} ${mode} was not started`);
      return found;
    },
    async token(claims = {}, signOptions = {}) {
      return (await server.ask({ ask: "token", claims, options: signOptions })) as string;
    },
    clientCertificate,
    log: async (lines = 50) => (await readFile(log, "utf8")).split("\n").slice(-lines).join("\n"),
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function certificates(
  directory: string,
  names: readonly ServerName[],
): Promise<{
  readonly start: Start;
  readonly files: CertificateFiles;
  readonly clientCertificate: Servers["clientCertificate"];
}> {
  const ca = await createCertificateAuthority({ name: "Foreign clients' CA" });
  const server = await ca.issue({ dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], usage: "server" });
  const write = async (name: string, pem: string): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, pem, { mode: 0o600 });
    return path;
  };
  const clientCertificate: Servers["clientCertificate"] = async (commonName) => {
    const client = await ca.issue({ commonName, usage: "client" });
    return {
      cert: await write(`${commonName}.crt`, client.cert),
      key: await write(`${commonName}.key`, client.key),
    };
  };
  const client = await clientCertificate("client");
  return {
    start: {
      names,
      cert: Buffer.from(server.cert),
      key: Buffer.from(server.key),
      clientCa: Buffer.from(ca.caPem),
    },
    files: {
      directory,
      ca: await write("ca.crt", ca.caPem),
      clientCert: client.cert,
      clientKey: client.key,
    },
    clientCertificate,
  };
}

function testServer(server: ServerProcess, name: ServerName, port: number): TestServer {
  return {
    ...name,
    port,
    address: `localhost:${port}`,
    seen: async () => (await server.ask({ ask: "seen", of: name })) as Seen,
    async forget() {
      await server.ask({ ask: "forget", of: name });
    },
  };
}

class ServerProcess {
  readonly #process: ChildProcess;
  readonly #waiting: Map<number, (answer: Seen | string | undefined) => void> = new Map();
  readonly #failed: Promise<never>;
  #asked = 0;

  constructor(log: string) {
    const file = openSync(log, "a");
    this.#process = fork(fileURLToPath(new URL("./server-process.ts", import.meta.url)), [], {
      execArgv: ["--import", import.meta.resolve("tsx")],
      serialization: "advanced",
      stdio: ["ignore", file, "inherit", "ipc"],
    });
    closeSync(file);
    this.#process.on("message", (report: Report) => {
      if (!("id" in report)) return;
      this.#waiting.get(report.id)?.(report.answer);
      this.#waiting.delete(report.id);
    });
    this.#failed = new Promise((_, reject) => {
      this.#process.on("message", (report: Report) => {
        if ("failure" in report) reject(new Error(`the servers' process: ${report.failure}`));
      });
      this.#process.once("exit", (code, signal) => {
        reject(new Error(`the servers' process ended by ${signal ?? `exit code ${code}`}`));
      });
    });
    this.#failed.catch(() => undefined);
  }

  async start(start: Start): Promise<readonly number[]> {
    this.#send({ start });
    const started = once(this.#process, "message") as Promise<[Report]>;
    const [report] = await Promise.race([started, this.#failed]);
    return "ports" in report ? report.ports : this.#failed;
  }

  ask(question: Question): Promise<Seen | string | undefined> {
    this.#asked += 1;
    const id = this.#asked;
    const answered = new Promise<Seen | string | undefined>((resolve) => this.#waiting.set(id, resolve));
    this.#send({ id, question });
    return Promise.race([answered, this.#failed]);
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await ended;
  }

  #send(order: Order): void {
    this.#process.send(order);
  }
}
