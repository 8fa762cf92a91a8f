// An address that stays far over its rate limit is refused before TLS, for a while.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import { connect as tcpConnect } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { anonymousPrincipal, type Principal } from "../../src/chain/principal.ts";
import type { Peer, PeerCertificate } from "../../src/grpc/peer.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { FloodingAddresses } from "../../src/server/flooding-addresses.ts";
import { paths } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";
import { waitMs, withTimeEnough } from "../harness/time.ts";
import { alice, callFrom, outcomeOf } from "../middleware/ended-call.ts";

const second = 1_000;
const far = 5_000;

interface Caller {
  readonly address?: string;
  readonly certificate?: boolean;
  readonly forwardedBy?: string;
  readonly principal?: Principal;
  readonly layer?: string;
}

/** With the default limit of 1,000 in 1 s, and a clock that stands still. */
function counting(limit = { points: 1_000, durationSec: 1 }, clock?: () => number) {
  let now = 1_000_000;
  const endedConnections: Peer[] = [];
  const addresses = new FloodingAddresses({
    limit,
    keyOf: (address) => (address === "198.51.100.1" ? undefined : address),
    endConnection: (peer) => endedConnections.push(peer),
    now: clock ?? (() => now),
  });
  return {
    addresses,
    endedConnections,
    later(ms: number) {
      now += ms;
    },
    /** So many calls end, refused by the peer's limit unless it says otherwise. */
    calls(many: number, caller: Caller = {}) {
      const {
        address = "192.0.2.7",
        certificate,
        forwardedBy,
        principal,
        layer = "peer-rate-limit",
      } = caller;
      const peer: Peer = {
        address,
        port: 1,
        secure: true,
        certificate: certificate === true ? ({} as PeerCertificate) : undefined,
        ...(forwardedBy === undefined ? {} : { forwardedBy }),
      };
      const call = Object.create(callFrom({ address }), {
        peer: { value: peer },
        principal: { value: principal },
      }) as ReturnType<typeof callFrom>;
      const outcome =
        layer === "handler"
          ? outcomeOf()
          : outcomeOf({ endedBy: "layer", layer, code: status.RESOURCE_EXHAUSTED });
      for (let i = 0; i < many; i++) {
        if (layer === "open") addresses.middleware.confirm?.(call);
        else addresses.middleware.onEnd?.(call, outcome);
      }
    },
    refuses: (address = "192.0.2.7") => addresses.refuse(address) !== undefined,
  };
}

type Counting = ReturnType<typeof counting>;

function flood(of: Counting, caller: Caller = {}, windows = 3): void {
  for (let i = 0; i < windows; i++) {
    of.calls(far, caller);
    of.later(second);
  }
}

describe("an address", () => {
  const spared: readonly (readonly [string, (of: Counting) => void])[] = [
    [
      "at four times its limit refused, for an hour",
      (of) => {
        for (let i = 0; i < 3_600; i++) {
          of.calls(far - 1);
          of.later(second);
        }
      },
    ],
    ["that comes with one burst of a hundred thousand", (of) => of.calls(100_000)],
    [
      "far over in two windows of each three",
      (of) => {
        for (let i = 0; i < 30; i++) {
          if (i % 3 !== 2) of.calls(far);
          else of.calls(1);
          of.later(second);
        }
      },
    ],
    [
      "far over every other second",
      (of) => {
        for (let i = 0; i < 30; i++) {
          of.calls(far);
          of.later(2 * second + 1);
        }
      },
    ],
    ["whose calls other layers refuse", (of) => flood(of, { layer: "authentication" })],
    ["whose calls handlers answer", (of) => flood(of, { layer: "handler", principal: anonymousPrincipal })],
    ["of one who shows a certificate", (of) => flood(of, { certificate: true })],
    ["of callers who come through a proxy", (of) => flood(of, { forwardedBy: "198.51.100.1" })],
    ["of a proxy itself", (of) => flood(of, { address: "198.51.100.1" })],
    [
      "from which somebody was verified meanwhile",
      (of) => {
        of.calls(1);
        of.calls(1, { layer: "handler", principal: alice });
        flood(of);
      },
    ],
    [
      "from which somebody was verified before anything was refused",
      (of) => {
        of.calls(1, { layer: "handler", principal: alice });
        of.later(second);
        flood(of);
      },
    ],
    [
      "from which a verified caller's stream is open",
      (of) => {
        of.calls(1, { layer: "open", principal: alice });
        flood(of);
      },
    ],
    [
      "from which somebody with a certificate called meanwhile",
      (of) => {
        flood(of, {}, 2);
        of.calls(1, { layer: "handler", certificate: true });
        flood(of, {}, 1);
      },
    ],
  ];
  it.each(spared)("L12 %s is not refused before TLS", (_what, happens) => {
    const of = counting();
    happens(of);
    expect([of.refuses(), of.refuses("198.51.100.1")]).toEqual([false, false]);
    expect(of.endedConnections).toEqual([]);
  });

  it.each(["peer-rate-limit", "failed-authentication"])(
    "L12 that %s refuses five times as often as the limit admits, three windows in a row, is refused for 10 s",
    (layer) => {
      const of = counting();
      flood(of, { layer }, 2);
      of.calls(far - 1, { layer });
      expect(of.refuses()).toBe(false);
      of.calls(1, { layer });
      expect([of.refuses(), of.refuses("192.0.2.8")]).toEqual([true, false]);
      of.later(9_999);
      expect(of.refuses()).toBe(true);
      of.later(1);
      expect(of.refuses()).toBe(false);
    },
  );

  it("L12 has to earn the next refusal by three windows again", () => {
    const of = counting();
    flood(of);
    of.later(10 * second);
    flood(of, {}, 2);
    expect(of.refuses()).toBe(false);
    flood(of, {}, 1);
    expect(of.refuses()).toBe(true);
  });

  it("L12 is judged in windows of 1 to 10 s, by no fewer than a hundred refused calls", () => {
    for (const [limit, windowMs, most] of [
      [{ points: 1, durationSec: 1 }, 1_000, 100],
      [{ points: 100, durationSec: 3_600 }, 10_000, 500],
      [{ points: 100, durationSec: 0.5 }, 1_000, 1_000],
    ] as const) {
      const of = counting(limit);
      for (let i = 0; i < 3; i++) {
        of.later(windowMs);
        of.calls(most - 1);
        expect(of.refuses()).toBe(false);
        of.calls(1);
      }
      expect(of.refuses()).toBe(true);
    }
  });

  it("L12 has those of its open connections ended that go on while it is refused", () => {
    const of = counting();
    flood(of);
    of.calls(10);
    of.calls(10);
    expect(of.endedConnections).toHaveLength(0);
    of.calls(11);
    expect(of.endedConnections).toHaveLength(1);
  });

  it("L10 fills a table of bounded size, which frees nobody", () => {
    const of = counting();
    flood(of);
    for (let i = 0; i < 12_000; i++) of.calls(1, { address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}` });
    expect(of.addresses.size).toBeLessThanOrEqual(10_000);
    expect(of.refuses()).toBe(true);
    of.later(20 * second);
    of.calls(1);
    expect(of.addresses.size).toBe(1);
  });
});

interface Flood {
  /** Is told how each call ended. */
  onAnswer(answer: string): void;
  isOver(): boolean;
}

/** There, an address is far over its limit that has a hundred calls refused in each of three windows. */
async function floodedServer(options: SecuredOptions = {}, windowMs = 1_000): Promise<Secured> {
  const { server } = await theWorld();
  return secured({
    // No client shows a certificate.
    tls: { cert: Buffer.from(server.cert), key: Buffer.from(server.key) },
    // Who is verified beside the flood comes as often as a machine lets him.
    rateLimit: { perPeer: { points: 10, durationSec: windowMs / 1_000 }, perPrincipal: false },
    ...options,
  });
}

const inFlight = 50;

/**
 * Counts those answers of a flood as the server counts its calls, for an address that nothing spares: once that would be
 * refused, the flood was far over the limit, and is over. It is over too where the machine is too slow for it. An answer
 * is seen a little later than the server counts it, perhaps in the next window: so this wants all that are in flight on
 * top of the server's hundred.
 */
function floodFarOver(counted: string, windowMs: number): Flood & { readonly isFarOver: boolean } {
  const of = counting({ points: (100 + inFlight) / 5, durationSec: windowMs / 1_000 }, () =>
    performance.now(),
  );
  const start = performance.now();
  let isFarOver = false;
  return {
    onAnswer(answer) {
      if (answer === counted) of.calls(1);
      isFarOver ||= of.refuses();
    },
    isOver: () => isFarOver || performance.now() - start > 6 * windowMs,
    get isFarOver() {
      return isFarOver;
    },
  };
}

async function openFrom(wall: Secured, localAddress: string): Promise<ClientHttp2Session> {
  const socket = tlsConnect({
    socket: tcpConnect({ port: wall.port, host: "127.0.0.1", localAddress }),
    servername: "localhost",
    ALPNProtocols: ["h2"],
    ca: wall.world.ca.caPem,
  });
  const session = connect(`https://${wall.address}`, { createConnection: () => socket });
  session.on("error", () => {});
  await Promise.race([
    once(session, "remoteSettings"),
    once(socket, "close").then(() => Promise.reject(new Error("refused"))),
  ]);
  return session;
}

function call(session: ClientHttp2Session, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  return new Promise((resolve) => {
    if (session.destroyed || session.closed) {
      resolve("closed");
      return;
    }
    const stream = session.request(
      {
        ":method": "POST",
        ":path": paths.unary,
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      },
      { endStream: true },
    );
    let answered = "closed";
    stream.on("response", (seen) => {
      answered = status[Number(seen["grpc-status"])] ?? "?";
    });
    stream.on("error", () => {});
    stream.on("close", () => resolve(answered));
    stream.resume();
  });
}

/** Calls until a new connection from there is refused, or until the flood is over. */
async function floodFrom(wall: Secured, address: string, flood?: Flood): Promise<void> {
  let session = await openFrom(wall, address);
  const start = performance.now();
  while (flood?.isOver() !== true) {
    if (performance.now() - start > waitMs) throw new Error(`the flood came to nothing in ${waitMs} ms`);
    if (session.destroyed || session.closed) {
      try {
        session = await openFrom(wall, address);
      } catch {
        return;
      }
    }
    const calls = Array.from({ length: inFlight }, () => call(session));
    await Promise.all(calls.map((each) => each.then((answer) => flood?.onAnswer(answer))));
  }
  session.destroy();
}

function isRefused(wall: Secured, address: string): Promise<boolean> {
  return openFrom(wall, address).then(
    (session) => {
      session.destroy();
      return false;
    },
    () => true,
  );
}

function linesAbout(wall: Secured): readonly unknown[] {
  return wall.lines.filter(({ reason }) => reason === "address_over_limit");
}

describe("a flood from one address", () => {
  it("L12 ends its connections and is refused before TLS, alone, and let in again after 10 s", async () => {
    await using wall = await floodedServer();
    const neighbour = await openFrom(wall, "127.0.0.3");
    await floodFrom(wall, "127.0.0.2");
    expect(await isRefused(wall, "127.0.0.3")).toBe(false);
    expect(["UNAUTHENTICATED", "RESOURCE_EXHAUSTED"]).toContain(await call(neighbour));
    neighbour.destroy();
    // Said once in 10 s, however often it is refused.
    for (let i = 0; i < 20; i++) await isRefused(wall, "127.0.0.2");
    expect(linesAbout(wall).length).toBeLessThanOrEqual(2);
    expect(linesAbout(wall)[0]).toMatchObject({ level: 40, peer: "127.0.0.2" });
    const since = performance.now();
    while (await isRefused(wall, "127.0.0.2")) {
      expect(performance.now() - since).toBeLessThan(waitMs);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });

  const spared: readonly (readonly [whose: string, answer: string, SecuredOptions])[] = [
    [
      "of a trusted proxy",
      "RESOURCE_EXHAUSTED",
      { peer: { trustedProxies: ["127.0.0.2"], addressFrom: "x-forwarded-for" } },
    ],
    [
      "whose limit is only tried out",
      // By the policy: the limit lets every call through.
      "PERMISSION_DENIED",
      { enforce: { rateLimit: false }, authentication: anonymous() },
    ],
  ];
  it.each(spared)("L12 is let in where the address is one %s", async (_whose, answer, options) => {
    await withTimeEnough(second, async (windowMs) => {
      await using wall = await floodedServer(options, windowMs);
      const flood = floodFarOver(answer, windowMs);
      await floodFrom(wall, "127.0.0.2", flood);
      expect(await isRefused(wall, "127.0.0.2")).toBe(false);
      expect(linesAbout(wall)).toEqual([]);
      return flood.isFarOver;
    });
  });

  it("L12 locks nobody out who shares the address and is verified", async () => {
    const path = paths.server_stream;
    await withTimeEnough(second, async (windowMs) => {
      await using wall = await floodedServer(
        { methods: { [path]: { rateLimit: { perPeer: false } } } },
        windowMs,
      );
      const { authorization } = await wall.authorized();
      const share = async (): Promise<void> => {
        const session = await openFrom(wall, "127.0.0.2");
        // Verified, and refused for the message that is missing.
        expect(await call(session, { authorization, ":path": path })).toBe("UNIMPLEMENTED");
        session.destroy();
      };
      await share();
      const flood = floodFarOver("RESOURCE_EXHAUSTED", windowMs);
      let isOver = false;
      const flooding = floodFrom(wall, "127.0.0.2", flood).finally(() => {
        isOver = true;
      });
      while (!isOver) await share();
      await flooding;
      expect(linesAbout(wall)).toEqual([]);
      return flood.isFarOver;
    });
  });
});
