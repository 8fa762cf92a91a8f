// Load by ghz: many calls within the default rates, and what it is told beyond them.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DelayingProxy, startDelayingProxy } from "./delaying-proxy.ts";
import { addressOf, goTools } from "./go-programs.ts";
import { protoDirectory } from "./interop-service.ts";
import { runWell } from "./run.ts";
import { type Kind, kinds, modes, type Servers, startServers, type TestServer } from "./servers.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

/**
 * A caller waits for an answer before its next call. Where both ways take 20 ms, it makes at most 25 calls in a second,
 * and 18 callers make at most 468 in any window of a second: below the 500 of a principal, however the machine stalls.
 */
const callers = 18;
const delayMs = 20;

/** Which fields of ghz's report are read. */
interface Report {
  readonly count: number;
  readonly statusCodeDistribution: Readonly<Record<string, number>>;
}

describe.skipIf(lacks("go"))("ghz", () => {
  let servers: Servers;
  let ghz: string;
  const proxies = new Map<TestServer, DelayingProxy>();

  beforeAll(async () => {
    ghz = (await goTools()).ghz;
    servers = await startServers();
    for (const kind of kinds) {
      for (const mode of modes) {
        const server = servers.server(kind, mode);
        proxies.set(server, await startDelayingProxy(server.port, delayMs));
      }
    }
  }, installTimeoutMs);
  afterAll(async () => {
    for (const proxy of proxies.values()) await proxy[Symbol.asyncDispose]();
    await servers[Symbol.asyncDispose]();
  });

  /** How the calls ended, by code. */
  async function load(
    port: number,
    calls: number,
    flags: readonly string[],
  ): Promise<Report["statusCodeDistribution"]> {
    const report = await runWell(
      ghz,
      [
        ...["--import-paths", protoDirectory, "--proto", `${protoDirectory}test.proto`],
        ...["--call", "grpc.testing.TestService/UnaryCall", "--data", '{"response_size": 100}'],
        ...["--cacert", servers.files.ca, "--total", String(calls), "--format", "json"],
        ...flags,
        addressOf(port),
      ],
      { timeoutMs: 300_000 },
    );
    return (JSON.parse(report) as Report).statusCodeDistribution;
  }

  /** Within the rates of each caller who has a name of its own. */
  function steadily(
    server: TestServer,
    calls: number,
    flags: readonly string[],
  ): Promise<Report["statusCodeDistribution"]> {
    const rate = ["--concurrency", String(callers), "--connections", "2"];
    return load(proxies.get(server)?.port ?? 0, calls, [...rate, ...flags]);
  }

  async function total(
    runs: readonly Promise<Report["statusCodeDistribution"]>[],
  ): Promise<Record<string, number>> {
    const sum: Record<string, number> = {};
    for (const codes of await Promise.all(runs))
      for (const [code, count] of Object.entries(codes)) sum[code] = (sum[code] ?? 0) + count;
    return sum;
  }

  it("N1 makes 20,000 calls without an error, in each mode, within the default rates", {
    timeout: 300_000,
  }, async () => {
    const byMode = async (kind: Kind): Promise<Record<string, Record<string, number>>> => {
      const tokens = await Promise.all(
        ["ada", "grace"].map((sub) => servers.token({ sub }, { expiresInSec: 600 })),
      );
      const certificates = await Promise.all(
        ["one", "two", "three", "four"].map((name) => servers.clientCertificate(`${kind}-${name}`)),
      );
      const [none, jwt, mtls] = await Promise.all([
        total([steadily(servers.server(kind, "none"), 20_000, [])]),
        total(
          tokens.map((token) =>
            steadily(servers.server(kind, "jwt"), 10_000, [
              "--metadata",
              JSON.stringify({ authorization: `Bearer ${token}` }),
            ]),
          ),
        ),
        total(
          certificates.map(({ cert, key }) =>
            steadily(servers.server(kind, "mtls"), 5_000, ["--cert", cert, "--key", key]),
          ),
        ),
      ]);
      return { none, jwt, mtls };
    };
    const all = { none: { OK: 20_000 }, jwt: { OK: 20_000 }, mtls: { OK: 20_000 } };
    const [bare, palisade] = await Promise.all([byMode("bare"), byMode("palisade")]);
    expect(bare, "bare grpc-js").toEqual(all);
    expect(palisade).toEqual(all);
  });

  it("L1 is told RESOURCE_EXHAUSTED, and nothing else, beyond the default rates", async () => {
    const codes = await load(servers.server("palisade", "none").port, 10_000, ["--concurrency", "50"]);
    expect(Object.keys(codes).toSorted()).toEqual(["OK", "ResourceExhausted"]);
    expect((codes["OK"] ?? 0) + (codes["ResourceExhausted"] ?? 0)).toBe(10_000);
  });
});
