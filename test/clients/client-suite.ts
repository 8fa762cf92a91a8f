// What every library's clients must get from servers behind default options: whatever they get from bare grpc-js, but for
// what the documentation names.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DelayingProxy, startDelayingProxy } from "./delaying-proxy.ts";
import { interopCases } from "./interop-cases.ts";
import {
  carryOut,
  credentialsOf,
  type PlannedRun,
  type Program,
  type Results,
  type SeenStatus,
  type Shown,
} from "./planned-runs.ts";
import { type Kind, kinds, type Mode, modes, type Servers, startServers } from "./servers.ts";
import { installTimeoutMs } from "./tools.ts";

export interface ForeignLibrary {
  /** For test names; each is a client of its own. */
  readonly transports: readonly string[];
  /** Cases that must go well in every mode, beside those that every library has. */
  readonly cases: readonly string[];
  /** Calls of one size over the slow connection: few where a client's flow control makes them slow. */
  readonly delayedCalls: Readonly<Record<string, number>>;
  /** Transports that offer TLS 1.2 alone, which a server accepts on request only. */
  readonly oldTls: readonly string[];
  install(): Promise<Program>;
}

/** gRPC's own cases, and one of TLS. */
const allCases = [...interopCases, "name_override"];

/** Behind authentication they are answered to callers with credentials; without it to nobody (docs/from-grpc-js.md). */
const unimplementedCases = ["unimplemented_method", "unimplemented_service"];

const callsOfASize = 5;
const delayMs = 20;

const largeCases = (kind: "unary" | "stream", sizes: readonly number[]): readonly string[] =>
  sizes.flatMap((size) =>
    ["new_connections", "one_connection", "at_once"].map((connections) => `${kind}_${size}_${connections}`),
  );

const sizes = [300_000, 1_000_000, 3_900_000];
/** From afar, with credentials, of one size: they change nothing about sizes. */
const delayedSizes = (mode: Mode): readonly number[] => (mode === "none" ? sizes : [1_000_000]);

const keepalive = "keepalive_every_10_seconds";

const all = (status: SeenStatus): Readonly<Record<string, SeenStatus>> =>
  Object.fromEntries(
    ["unary", "client_stream", "server_stream", "bidi_stream", "unknown_method", "unknown_service"].map(
      (call) => [call, status],
    ),
  );

export function foreignLibrary(library: ForeignLibrary): void {
  const proxies: DelayingProxy[] = [];
  let servers: Servers;
  let served: Results;
  let refused: Results;

  beforeAll(async () => {
    const program = await library.install();
    servers = await startServers();
    served = await carryOut(program, servers.files, await plan());
    for (const mode of modes) await servers.server("palisade", mode).forget();
    refused = await carryOut(program, servers.files, await refusals());
  }, installTimeoutMs);

  afterAll(async () => {
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
    await servers?.[Symbol.asyncDispose]();
  });

  const casesOf = (mode: Mode): readonly string[] => [
    ...allCases,
    ...(mode === "none" ? [] : unimplementedCases),
    ...library.cases,
    ...largeCases("unary", sizes),
    ...largeCases("stream", sizes),
  ];

  async function plan(): Promise<readonly PlannedRun[]> {
    const runs: PlannedRun[] = [];
    for (const mode of modes) {
      const shown = await credentialsOf(servers, mode);
      for (const kind of kinds) {
        const { port } = servers.server(kind, mode);
        const proxy = await startDelayingProxy(port, delayMs);
        proxies.push(proxy);
        for (const transport of library.transports) {
          const near = { ...shown, transport, port, calls: callsOfASize };
          const far = { ...near, port: proxy.port, calls: library.delayedCalls[transport] ?? callsOfASize };
          const name = nameOf(transport, kind, mode);
          if (mode === "jwt") runs.push({ ...near, name: `${name}, idle`, cases: [keepalive] });
          for (const each of ["unary", "stream"] as const)
            runs.push({ ...far, name: `${name}, far ${each}`, cases: largeCases(each, delayedSizes(mode)) });
          runs.push({ ...near, name, cases: [...casesOf(mode), "status_code_and_message", "statuses"] });
        }
      }
    }
    for (const transport of library.oldTls) {
      for (const kind of kinds) {
        const shown = await credentialsOf(servers, "none");
        const { port } = servers.server(kind, "none");
        const name = nameOf(transport, kind, "none");
        runs.push({ ...shown, transport, port, name, calls: callsOfASize, cases: ["statuses"] });
      }
    }
    return runs;
  }

  /** Who shows what the server does not accept. */
  async function refusals(): Promise<readonly PlannedRun[]> {
    const { ca } = servers.files;
    const exp = Math.floor(Date.now() / 1000) - 3600;
    const callers: Readonly<Record<string, Shown>> = {
      missing: { ca },
      invalid: { ca, token: `${await servers.token()}x` },
      expired: { ca, token: await servers.token({ exp }) },
    };
    const common = { calls: callsOfASize, cases: ["statuses"] };
    return library.transports.flatMap((transport) => [
      ...Object.entries(callers).map(([name, shown]) => ({
        ...common,
        ...shown,
        transport,
        name: `${transport} ${name}`,
        port: servers.server("palisade", "jwt").port,
      })),
      {
        ...common,
        ca,
        transport,
        name: `${transport} bare hands`,
        port: servers.server("palisade", "mtls").port,
      },
    ]);
  }

  describe.each(library.transports)("%s", (transport) => {
    const both = (mode: Mode, suffix: string, ofCase: string): Readonly<Record<Kind, string>> => ({
      bare: served.outcome(`${nameOf(transport, "bare", mode)}${suffix}`, ofCase),
      palisade: served.outcome(`${nameOf(transport, "palisade", mode)}${suffix}`, ofCase),
    });
    const answers = (kind: Kind, mode: Mode, ofCase: string): Readonly<Record<string, SeenStatus>> =>
      served.answers(nameOf(transport, kind, mode), ofCase);
    const ok = { bare: "ok", palisade: "ok" };

    describe.each(modes)("mode %s", (mode) => {
      it.each(casesOf(mode))("N1 %s", (ofCase) => {
        expect(both(mode, "", ofCase)).toEqual(ok);
      });

      it.each(["unary", "stream"] as const)("N1 large %s responses from afar", (kind) => {
        for (const ofCase of largeCases(kind, delayedSizes(mode)))
          expect(both(mode, `, far ${kind}`, ofCase), ofCase).toEqual(ok);
      });

      it("C5 hides the text of UNKNOWN, and nothing else of it", () => {
        const text = { code: "UNKNOWN", details: "test status message" };
        expect(answers("bare", mode, "status_code_and_message")).toEqual({ unary: text, bidi_stream: text });
        const hidden = {
          code: "UNKNOWN",
          details: expect.stringMatching(/^internal error \(id [0-9a-f-]+\)$/),
        };
        expect(answers("palisade", mode, "status_code_and_message")).toEqual({
          unary: hidden,
          bidi_stream: hidden,
        });
      });

      it("C8 tells the authenticated alone that a method does not exist", () => {
        const fine = { code: "OK", details: "" };
        const unknown =
          mode === "none"
            ? { code: "UNAUTHENTICATED", details: "missing credentials" }
            : { code: "UNIMPLEMENTED", details: "unknown method" };
        expect(answers("palisade", mode, "statuses")).toEqual({
          ...all(fine),
          unknown_method: unknown,
          unknown_service: unknown,
        });
      });
    });

    it("L3 N1 may ping every 10 s while a call is open", () => {
      expect(both("jwt", ", idle", keepalive)).toEqual(ok);
    });

    it.each(["missing", "invalid", "expired"])("A11 is told of %s credentials, and no more", (what) => {
      const told = { code: "UNAUTHENTICATED", details: `${what} credentials` };
      expect(refused.answers(`${transport} ${what}`, "statuses")).toEqual(all(told));
    });

    it("T2 cannot connect without a certificate where one is required", () => {
      for (const { code } of Object.values(refused.answers(`${transport} bare hands`, "statuses")))
        expect(code).toBe("UNAVAILABLE");
    });
  });

  it.each(library.oldTls)("T1 %s: cannot connect, unless the server is told to accept it", (transport) => {
    const code = (kind: Kind): string | undefined =>
      served.answers(nameOf(transport, kind, "none"), "statuses")["unary"]?.code;
    expect({ bare: code("bare"), palisade: code("palisade") }).toEqual({
      bare: "OK",
      palisade: "UNAVAILABLE",
    });
  });

  it("A11 T2 starts no handler for those who are refused", async () => {
    for (const mode of ["jwt", "mtls"] as const)
      expect((await servers.server("palisade", mode).seen()).started, mode).toEqual({});
  });
}

function nameOf(transport: string, kind: Kind, mode: Mode): string {
  return `${transport}, ${kind}, ${mode}`;
}
