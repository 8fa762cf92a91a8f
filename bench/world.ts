// Everything around the servers: certificates, tokens, the load generator, and the processes to be ended again.
import { generateKeyPairSync } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCertificateAuthority } from "grpc-palisade/testing";
import { buildPrograms, buildProgramsBefore, type Programs } from "./build.ts";
import { envoyProgram } from "./envoy.ts";
import { type InstructionCounter, instructionCounter } from "./instructions.ts";
import type { Options } from "./options.ts";
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
  /** On the build of the revision that `--before` names. */
  readonly before?: true;
  readonly settings?: Partial<Omit<ServerSettings, "identities" | "trust" | "directory" | "settleMs">>;
}

export interface RunningServer {
  readonly name: string;
  readonly port: number;
  readonly pids: readonly number[];
  readonly child: Child<ServerAsks>;
}

export type WorldOptions = Pick<Options, "preset" | "seed" | "before" | "envoy">;

export class World {
  readonly preset: Preset;
  readonly random: Random;
  readonly identities: Identities;
  readonly trust: TokenTrust;
  /** Undefined where `perf` counts nothing here. */
  readonly counter: InstructionCounter | undefined;
  readonly counterMissing: string | undefined;
  readonly #privateKeyPem: string;
  /** The commit that `--before` names. */
  readonly before: string | undefined;
  readonly #programs: Programs;
  readonly #programsBefore: Programs | undefined;
  readonly #askedEnvoy: string | undefined;
  readonly #directory: string;
  readonly #children = new Set<{ stop(): Promise<void> }>();
  #tokens = 0;
  #folders = 0;
  #envoy: Awaited<ReturnType<typeof envoyProgram>> | undefined;

  static async make(options: WorldOptions): Promise<World> {
    const before = options.before === undefined ? undefined : await buildProgramsBefore(options.before);
    return new World(options, await newIdentities(), await buildPrograms(), before);
  }

  private constructor(
    { preset, seed, envoy }: WorldOptions,
    identities: Identities,
    programs: Programs,
    before: Awaited<ReturnType<typeof buildProgramsBefore>> | undefined,
  ) {
    this.preset = preset;
    this.random = seededRandom(seed);
    this.identities = identities;
    this.before = before?.commit;
    this.#programs = programs;
    this.#programsBefore = before?.programs;
    this.#askedEnvoy = envoy;
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
  start<A extends Asks>(name: string, program: string, programs = this.#programs): Child<A> {
    const child = new Child<A>({
      name,
      program: programs.path(program),
      arguments: ["--expose-gc", "--disable-warning=ExperimentalWarning"],
    });
    this.#children.add(child);
    return child;
  }

  /** Envoy's program. Looked for when it is first asked for; undefined where there is none. */
  async envoy(): Promise<string | undefined> {
    this.#envoy ??= await envoyProgram(this.#askedEnvoy);
    return "program" in this.#envoy ? this.#envoy.program : undefined;
  }

  /** Why there is no Envoy, where one was asked for. */
  get envoyMissing(): string | undefined {
    return this.#envoy !== undefined && "missing" in this.#envoy ? this.#envoy.missing : undefined;
  }

  async startServer({ name, program, before, settings }: ServerChoice): Promise<RunningServer> {
    const programs = before === undefined ? this.#programs : this.#programsBefore;
    const child = this.start<ServerAsks>(name, `servers/${program}`, programs);
    this.#folders += 1;
    const directory = join(this.#directory, `${this.#folders}`);
    mkdirSync(directory);
    const { port, pids } = await child.ask("start", {
      identities: this.identities,
      trust: this.trust,
      directory,
      methods: 0,
      principals: 1,
      channelz: true,
      records: true,
      metricsSdk: true,
      identity: "token",
      envoy: "",
      settleMs: this.preset.settleMs,
      ...settings,
    });
    return { name, port, pids, child };
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
    this.#programsBefore?.remove();
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
