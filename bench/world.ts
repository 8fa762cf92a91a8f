// Everything around the servers: certificates, tokens, the load generator, and the processes to be ended again.
import { generateKeyPairSync } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCertificateAuthority } from "grpc-palisade/testing";
import { buildPrograms, type Programs } from "./build.ts";
import { type InstructionCounter, instructionCounter } from "./instructions.ts";
import type { Preset } from "./presets.ts";
import { type Asks, Child } from "./process/ask.ts";
import type {
  ClientKind,
  Identities,
  LoadAsks,
  ServerAsks,
  ServerSettings,
  SignerAsks,
  TokenTrust,
} from "./process/protocol.ts";
import { type Random, seededRandom } from "./statistics.ts";

/** A program of `bench/servers`, and what it is told that differs from the others. */
export interface ServerChoice {
  readonly name: string;
  readonly program: string;
  readonly settings?: Partial<Pick<ServerSettings, "methods" | "principals" | "channelz" | "records">>;
}

export interface RunningServer {
  readonly name: string;
  readonly port: number;
  readonly child: Child<ServerAsks>;
}

export class World {
  readonly preset: Preset;
  readonly random: Random;
  readonly identities: Identities;
  readonly trust: TokenTrust;
  /** Undefined where `perf` counts nothing here. */
  readonly counter: InstructionCounter | undefined;
  readonly counterMissing: string | undefined;
  readonly #privateKeyPem: string;
  readonly #programs: Programs;
  readonly #directory: string;
  readonly #children = new Set<{ stop(): Promise<void> }>();
  #tokens = 0;
  #folders = 0;

  static async make(preset: Preset, seed: number): Promise<World> {
    return new World(preset, seed, await buildPrograms(), await newIdentities());
  }

  private constructor(preset: Preset, seed: number, programs: Programs, identities: Identities) {
    this.preset = preset;
    this.random = seededRandom(seed);
    this.identities = identities;
    this.#programs = programs;
    this.#directory = mkdtempSync(join(tmpdir(), "palisade-bench-"));
    const { publicKey, privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
    });
    this.trust = { issuer: "https://id.bench.example", audience: "bench", publicKeyPem: publicKey };
    this.#privateKeyPem = privateKey;
    const counter = instructionCounter();
    this.counter = "missing" in counter ? undefined : counter;
    this.counterMissing = "missing" in counter ? counter.missing : undefined;
  }

  /** A process of its own; with `--expose-gc`, because memory is told after a collection. */
  start<A extends Asks>(name: string, program: string): Child<A> {
    const child = new Child<A>({
      name,
      program: this.#programs.path(program),
      arguments: ["--expose-gc", "--disable-warning=ExperimentalWarning"],
    });
    this.#children.add(child);
    return child;
  }

  async startServer({ name, program, settings }: ServerChoice): Promise<RunningServer> {
    const child = this.start<ServerAsks>(name, `servers/${program}`);
    this.#folders += 1;
    const directory = join(this.#directory, `${this.#folders}`);
    mkdirSync(directory);
    const { port } = await child.ask("start", {
      identities: this.identities,
      trust: this.trust,
      directory,
      methods: 0,
      principals: 1,
      channelz: true,
      records: true,
      settleMs: this.preset.settleMs,
      ...settings,
    });
    return { name, port, child };
  }

  /** A load generator that has the first `tokens` tokens. */
  async startLoad(tokens = 1): Promise<Child<LoadAsks>> {
    const file = await this.tokenFile(tokens);
    const load = this.start<LoadAsks>("load generator", "load/generator");
    await load.ask("tokens", { file });
    return load;
  }

  connect(
    load: Child<LoadAsks>,
    { name, port }: RunningServer,
    client: ClientKind = "grpc-js",
  ): Promise<undefined> {
    const { identities, preset } = this;
    return load.ask("connect", { target: name, port, identities, connections: preset.connections, client });
  }

  /** A file with at least so many tokens, each of a principal of its own. Signed once in a run, by a process for each core. */
  async tokenFile(count: number): Promise<string> {
    const file = join(this.#directory, "tokens");
    if (this.#tokens >= count) return file;
    const share = Math.ceil((count - this.#tokens) / 2);
    const signed = await Promise.all(
      [0, 1].map(async (half) => {
        const part = `${file}-${half}`;
        const signer = this.start<SignerAsks>("signer", "load/signer");
        const first = this.#tokens + half * share;
        await signer.ask("sign", {
          privateKeyPem: this.#privateKeyPem,
          trust: this.trust,
          first,
          count: share,
          file: part,
        });
        await this.stop(signer);
        return part;
      }),
    );
    for (const part of signed) appendFileSync(file, readFileSync(part), { mode: 0o600 });
    this.#tokens += 2 * share;
    return file;
  }

  async stop(...children: readonly { stop(): Promise<void> }[]): Promise<void> {
    for (const child of children) this.#children.delete(child);
    await Promise.all(children.map((child) => child.stop()));
  }

  async close(): Promise<void> {
    await this.stop(...this.#children);
    rmSync(this.#directory, { recursive: true, force: true });
    this.#programs.remove();
  }
}

async function newIdentities(): Promise<Identities> {
  const authority = await createCertificateAuthority({ name: "Palisade bench CA" });
  const server = await authority.issue({
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
    usage: "server",
  });
  const client = await authority.issue({ uris: ["spiffe://bench.example/load"], usage: "client" });
  return { ca: authority.caPem, server, client };
}
