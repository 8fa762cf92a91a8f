// Floods of frames from Go: what the server does about each, that it serves other callers meanwhile, and that it keeps
// nothing of them.
import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/grpc/method.ts";
import { anonymous, rbac, type SecureServerOptions } from "../../src/index.ts";
import { invoke, paths } from "../harness/kinds.ts";
import { type Secured, secured, theWorld } from "../harness/secured.ts";
import { CountedKinds } from "./counted-kinds.ts";
import { goProgram } from "./go-programs.ts";
import { type Fields, hex, message, type RawResult, runRaw, type Step, toldOn } from "./raw-program.ts";
import { requestFields } from "./raw-rows.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

interface Flood {
  readonly name: string;
  /** Its calls need a token; the flood's have one, or none. Default: no authentication. */
  readonly token?: "good" | "none";
  steps(credential: Fields): readonly Step[];
  /**
   * `ended`: the connection is. `refused`: it takes no new calls, whether it is ended, which depends on the Node, or not.
   * `served`: a call on it, afterwards, is answered.
   */
  readonly outcome: "ended" | "refused" | "served";
  /** The first GOAWAY: where the server reads what it did not ask for no more, its last word may be lost on the way. */
  readonly goaway?: { readonly code: string; readonly debug: string };
  /** The flood's own stream is reset by HTTP/2, before anybody saw the request. */
  readonly reset?: true;
  /** Why, in the log. */
  readonly reason?: "too_many_pings" | "http2_error";
  /** How many handlers may have started at most, for calls of the flood, when it took so long. */
  readonly mostStarts: (seconds: number) => number;
}

const flooded = "flood";
const fields = (kind: MethodKind, name: string, credential: Fields = []): Fields =>
  requestFields({ path: paths[kind], name, credential, token: "", key: "" });

/** A whole unary call. */
const call = (stream: number, credential: Fields = []): readonly Step[] => [
  { op: "headers", stream, fields: fields("unary", "a good call", credential) },
  { op: "data", stream, hex: hex(message('{"text":"hello"}')), end: true },
  { op: "await", stream },
];
const lastStream = 2_000_001;
const open: Step = { op: "headers", stream: 1, fields: fields("client_stream", flooded) };
/** The first call lets the token be remembered, so that the others are let in as soon as they come. */
const resets =
  (kind: MethodKind) =>
  (credential: Fields): readonly Step[] => [
    ...call(1, credential),
    { op: "flood", frame: "reset", stream: 3, count: 30_000, fields: fields(kind, flooded, credential) },
  ];

/**
 * nghttp2 lets a thousand streams be reset, and then 33 a second (CVE-2023-44487). What it has read in one go it takes whole,
 * also where the limit lies within it: 64 KiB of streams, each with two frames and a few bytes of indexed fields.
 */
const resetLimit = (seconds: number): number =>
  1_000 + Math.ceil(33 * (seconds + 1)) + Math.ceil((64 * 1024) / 30);
const none = (): number => 0;
const one = (): number => 1;
const byHttp2 = { outcome: "ended", reason: "http2_error", mostStarts: none } as const;

const floods: readonly Flood[] = [
  {
    name: "L3 ends a connection with 1,000 PINGs one by one around a small call",
    steps: () => [...call(1), { op: "flood", frame: "ping", count: 1_000, window: 1 }],
    outcome: "ended",
    goaway: { code: "ENHANCE_YOUR_CALM", debug: "too_many_pings" },
    reason: "too_many_pings",
    mostStarts: none,
  },
  {
    name: "L3 ends a connection with 100,000 PINGs at once",
    steps: () => [{ op: "flood", frame: "ping", count: 100_000 }],
    outcome: "ended",
    reason: "too_many_pings",
    mostStarts: none,
  },
  {
    name: "L11 bears 100,000 SETTINGS, 500 at a time",
    steps: () => [{ op: "flood", frame: "settings", count: 100_000, window: 500 }, ...call(lastStream)],
    outcome: "served",
    mostStarts: none,
  },
  {
    name: "L11 ends a connection with 100,000 SETTINGS at once",
    steps: () => [{ op: "flood", frame: "settings", count: 100_000 }],
    ...byHttp2,
  },
  {
    name: "L5 ends a connection with 100,000 CONTINUATION frames",
    steps: () => [
      { op: "flood", frame: "continuation", stream: 1, count: 100_000, fields: fields("unary", flooded) },
    ],
    ...byHttp2,
  },
  {
    name: "L5 refuses a header block of 16 kB that unfolds to 60 MB",
    steps: () => [
      {
        op: "headers",
        stream: 1,
        fields: [...fields("unary", flooded), ["x-large", "m".repeat(4_000)]],
        repeat: 15_000,
        end: true,
      },
      ...call(lastStream),
    ],
    outcome: "served",
    reset: true,
    mostStarts: none,
  },
  {
    name: "C12 takes no more calls after 30,000 unary ones without a credential, each taken back at once",
    token: "none",
    steps: resets("unary"),
    outcome: "refused",
    mostStarts: none,
  },
  {
    name: "C12 takes no more calls after 30,000 unary ones, each taken back at once",
    token: "good",
    steps: resets("unary"),
    outcome: "refused",
    mostStarts: none,
  },
  {
    name: "C12 takes no more calls after 30,000 client streams without a credential, each taken back at once",
    token: "none",
    steps: resets("client_stream"),
    outcome: "refused",
    mostStarts: none,
  },
  {
    name: "C12 takes no more calls after 30,000 client streams, each taken back at once",
    token: "good",
    steps: resets("client_stream"),
    outcome: "refused",
    mostStarts: resetLimit,
  },
  {
    name: "L11 ends a connection with 100,000 empty DATA frames",
    steps: () => [open, { op: "flood", frame: "data", stream: 1, count: 100_000 }],
    ...byHttp2,
    mostStarts: one,
  },
  {
    name: "L11 bears 500,000 WINDOW_UPDATEs",
    steps: () => [open, { op: "flood", frame: "window", stream: 1, count: 500_000 }, ...call(lastStream)],
    outcome: "served",
    mostStarts: one,
  },
];

/** Of what it had before, for the time of a flood: the largest of them has 100 MB. */
const mostGrowthBytes = 96 * 1024 * 1024;

/** One who floods is limited by his address, as others are by theirs. Only Linux has all of 127.0.0.0/8. */
const otherAddress = process.platform === "linux" ? "127.0.0.2" : undefined;

async function start(flood: Flood, counted: CountedKinds): Promise<Secured> {
  const { server } = await theWorld();
  const everybody: Partial<SecureServerOptions> = {
    authentication: anonymous(),
    authorization: rbac({ rules: Object.fromEntries(Object.values(paths).map((path) => [path, "public"])) }),
  };
  return secured({
    tls: { cert: Buffer.from(server.cert), key: Buffer.from(server.key) },
    ...(flood.token === undefined ? everybody : {}),
    handlers: counted.handlers,
  });
}

/** Waits so long for its turn on a busy machine, in milliseconds. */
const patienceMs = 60_000;

/** Somebody else, who calls before the flood, during it, and once more. */
async function otherCaller(
  wall: Secured,
  { token }: Flood,
): Promise<(over: AbortSignal) => Promise<ReadonlySet<string>>> {
  const client = wall.client();
  const metadata = token === undefined ? {} : await wall.authorized({ sub: "grace" });
  const told = async (): Promise<string> => {
    const deadline = Date.now() + patienceMs;
    const { name, details } = await invoke(client, "unary", { metadata, call: { deadline } });
    return name === "OK" ? name : `${name} ${details}`;
  };
  const seen = new Set([await told()]);
  return async (over) => {
    for (let more = true; more; ) {
      more = !over.aborted;
      seen.add(await told());
      // One address may make 1,000 calls a second.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return seen;
  };
}

/** The most memory that the process had in the meantime, above what it had at first. */
function watchMemory(): () => number {
  const before = process.memoryUsage.rss();
  let most = before;
  const look = (): void => {
    most = Math.max(most, process.memoryUsage.rss());
  };
  const timer = setInterval(look, 10);
  return () => {
    clearInterval(timer);
    look();
    return most - before;
  };
}

function hasOutcome({ closed, goaways, streams }: RawResult, outcome: Flood["outcome"]): boolean {
  if (outcome === "served") return streams[lastStream]?.trailers?.["grpc-status"] === "0";
  return closed || (outcome === "refused" && goaways.length > 0);
}

/** `served` has waited already. */
const lastStep: Readonly<Record<Flood["outcome"], readonly Step[]>> = {
  ended: [{ op: "awaitClosed" }],
  refused: [{ op: "awaitGoaway" }],
  served: [],
};

interface Borne {
  readonly result: RawResult;
  /** What others were told meanwhile. */
  readonly others: ReadonlySet<string>;
  /** By how many bytes the process grew. */
  readonly grown: number;
  readonly seconds: number;
}

async function borne(wall: Secured, flood: Flood): Promise<Borne> {
  const program = await goProgram("rawhttp2");
  const credential = flood.token === "good" ? Object.entries(await wall.authorized()) : [];
  const scenario = {
    name: flood.name,
    address: `127.0.0.1:${wall.port}`,
    from: otherAddress,
    steps: [...flood.steps(credential), ...lastStep[flood.outcome]],
  };
  const over = new AbortController();
  const callOn = await otherCaller(wall, flood);
  const growth = watchMemory();
  const began = performance.now();
  const others = callOn(over.signal);
  const results = await runRaw({
    program,
    ca: wall.world.ca.caPem,
    scenarios: [scenario],
    timeoutMs: patienceMs,
  }).finally(() => over.abort());
  const seconds = (performance.now() - began) / 1_000;
  const told = await others;
  const result = results.get(flood.name);
  if (result === undefined) throw new Error(`${flood.name}: nothing came back`);
  return { result, others: told, grown: growth(), seconds };
}

describe.skipIf(lacks("go"))("a flood of frames", () => {
  for (const flood of floods) {
    it(
      flood.name,
      async () => {
        const counted = new CountedKinds();
        await using wall = await start(flood, counted);
        const { result, others, grown, seconds } = await borne(wall, flood);
        expect(result).toMatchObject({ timedOut: false });
        expect(hasOutcome(result, flood.outcome), JSON.stringify(result)).toBe(true);
        expect([...others]).toEqual(["OK"]);
        if (flood.goaway !== undefined) expect(result.goaways[0]).toEqual(flood.goaway);
        if (flood.reset) expect(toldOn(result)).toEqual({ reset: expect.any(String) });
        expect(counted.reached(flooded).starts).toBeLessThanOrEqual(flood.mostStarts(seconds));
        expect(grown).toBeLessThan(mostGrowthBytes);
        if (flood.reason !== undefined)
          expect(wall.lines.map(({ reason }) => reason)).toContain(flood.reason);
      },
      installTimeoutMs,
    );
  }
});
