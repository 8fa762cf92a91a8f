// What gRPC's interop cases leave out, by a Go program of ours: large responses near and far, cancellation, metadata.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DelayingProxy, startDelayingProxy } from "./delaying-proxy.ts";
import { connectionFlags, goProgram } from "./go-programs.ts";
import { runWell } from "./run.ts";
import {
  type Kind,
  kinds,
  type Mode,
  modes,
  type Servers,
  startServers,
  type TestServer,
} from "./servers.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

const timeoutMs = 100_000;

interface Report {
  readonly ok: number;
  readonly failures: Readonly<Record<string, number>>;
}

const sizes = { "300 kB": 300_000, "1 MB": 1_000_000, "3.9 MB": 3_900_000 } as const;

interface Row {
  readonly mode: Mode;
  /** One message, of a unary method or of a stream; or a stream of messages of 64 KiB. */
  readonly what: "unary" | "stream" | "chunks";
  readonly size: keyof typeof sizes;
  readonly connections: "new" | "reused";
  readonly delayMs: 0 | 20;
}

const rows: readonly Row[] = modes
  .flatMap((mode) =>
    (["unary", "stream", "chunks"] as const).flatMap((what) =>
      (["300 kB", "1 MB", "3.9 MB"] as const).flatMap((size) =>
        (["new", "reused"] as const).flatMap((connections) =>
          ([0, 20] as const).map((delayMs) => ({ mode, what, size, connections, delayMs })),
        ),
      ),
    ),
  )
  // All without authentication; with it what is nearest to daily life, because credentials change nothing about sizes.
  .filter(({ mode, what, size, delayMs }) =>
    mode === "none"
      ? what !== "chunks" || size === "3.9 MB"
      : what !== "chunks" && size === "1 MB" && delayMs === 20,
  );

describe.skipIf(lacks("go"))("grpc-go", () => {
  let servers: Servers;
  let program: string;
  const proxies = new Map<TestServer, DelayingProxy>();

  beforeAll(async () => {
    program = await goProgram("calls");
    servers = await startServers();
    for (const kind of kinds) {
      for (const mode of modes) {
        const server = servers.server(kind, mode);
        proxies.set(server, await startDelayingProxy(server.port, 20));
      }
    }
  }, installTimeoutMs);
  afterAll(async () => {
    for (const proxy of proxies.values()) await proxy[Symbol.asyncDispose]();
    await servers[Symbol.asyncDispose]();
  });

  function proxyOf(server: TestServer): DelayingProxy {
    const proxy = proxies.get(server);
    if (proxy === undefined) throw new Error(`no proxy for ${server.kind} ${server.mode}`);
    return proxy;
  }

  async function calls(server: TestServer, delayMs: 0 | 20, flags: readonly string[]): Promise<Report> {
    const port = delayMs === 0 ? server.port : proxyOf(server).port;
    const connection = await connectionFlags(servers, { mode: server.mode, port });
    return JSON.parse(await runWell(program, [...connection, ...flags], { timeoutMs })) as Report;
  }

  it.each(rows)(
    "N1 L3 mode $mode: $what responses of $size arrive on $connections connections, $delayMs ms away, 20 of 20",
    async ({ mode, what, size, connections, delayMs }) => {
      const flags = ["-what", what, "-size", String(sizes[size]), "-calls", "20"];
      const how = connections === "reused" ? ["-reuse"] : ["-parallel", "10"];
      const ask = (kind: Kind): Promise<Report> =>
        calls(servers.server(kind, mode), delayMs, [...flags, ...how]);
      const [bare, palisade] = await Promise.all([ask("bare"), ask("palisade")]);
      expect(bare, "bare grpc-js").toEqual({ ok: 20, failures: {} });
      expect(palisade).toEqual({ ok: 20, failures: {} });
    },
  );

  it.each(modes.flatMap((mode) => (["cancel", "deadline"] as const).map((what) => ({ mode, what }))))(
    "N1 mode $mode: a handler sees its caller's $what",
    async ({ mode, what }) => {
      const see = async (kind: Kind): Promise<void> => {
        const server = servers.server(kind, mode);
        await server.forget();
        const report = await calls(server, 0, ["-what", what, "-calls", "10", "-parallel", "10"]);
        expect(report, kind).toEqual({ ok: 10, failures: {} });
        await expect
          .poll(() => server.seen(), { timeout: 20_000, message: kind })
          .toEqual({ started: { StreamingOutputCall: 10 }, cancelled: { StreamingOutputCall: 10 } });
      };
      await Promise.all(kinds.map(see));
    },
  );

  it.each(modes)(
    "L5 mode %s: metadata goes both ways up to the limit, and is refused beyond it",
    async (mode) => {
      const palisade = servers.server("palisade", mode);
      const ask = (server: TestServer, bytes: number): Promise<Report> =>
        calls(server, 0, ["-what", "metadata", "-size", String(bytes)]);
      expect(await ask(servers.server("bare", mode), 7000), "bare grpc-js").toEqual({ ok: 1, failures: {} });
      expect(await ask(palisade, 7000)).toEqual({ ok: 1, failures: {} });
      expect(await ask(palisade, 12_000)).toEqual({
        ok: 0,
        failures: { "rpc error: code = ResourceExhausted desc = metadata too large": 1 },
      });
      const { failures } = await ask(palisade, 40_000);
      expect(Object.keys(failures).join()).toContain("16384 bytes");
    },
  );
});
