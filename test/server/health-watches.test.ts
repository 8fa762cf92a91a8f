// Who may watch where all places are taken.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import { connect as tcpConnect } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { eventually, type Secured, secured, theWorld } from "../harness/secured.ts";

interface Watching {
  /** Status by name, once it has ended; undefined while it is told. */
  ended: string | undefined;
  told: boolean;
  cancel(): void;
}

class Watchers implements Disposable {
  readonly #wall: Secured;
  readonly #sessions: ClientHttp2Session[] = [];

  constructor(wall: Secured) {
    this.#wall = wall;
  }

  /** Connects from one of this machine's loopback addresses. */
  async from(localAddress: string): Promise<() => Promise<Watching>> {
    const { port, address, world } = this.#wall;
    const socket = tlsConnect({
      socket: tcpConnect({ port, host: "127.0.0.1", localAddress }),
      servername: "localhost",
      ALPNProtocols: ["h2"],
      ca: world.ca.caPem,
    });
    const session = connect(`https://${address}`, { createConnection: () => socket });
    session.on("error", () => {});
    this.#sessions.push(session);
    await once(session, "remoteSettings");
    return () => watch(session);
  }

  [Symbol.dispose](): void {
    for (const session of this.#sessions) session.destroy();
  }
}

async function watch(session: ClientHttp2Session): Promise<Watching> {
  const stream = session.request(
    {
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Watch",
      "content-type": "application/grpc",
      te: "trailers",
    },
    { endStream: false },
  );
  const watching: Watching = { ended: undefined, told: false, cancel: () => stream.close() };
  const note = (headers: { readonly "grpc-status"?: string | string[] | undefined }): void => {
    const code = headers["grpc-status"];
    if (code !== undefined) watching.ended = status[Number(code)];
  };
  stream.on("response", note);
  stream.on("trailers", note);
  stream.on("data", () => {
    watching.told = true;
  });
  stream.on("error", () => {});
  stream.on("close", () => {
    watching.ended ??= "closed";
  });
  // An empty message: the server as a whole.
  stream.end(Buffer.alloc(5));
  await eventually(() => watching.told || watching.ended !== undefined, "the watch's first word");
  return watching;
}

async function watchedServer(watchLimit: { perPeer: number; total: number }): Promise<Secured> {
  const { server } = await theWorld();
  return secured({
    // By address: no client shows a certificate.
    tls: { cert: Buffer.from(server.cert), key: Buffer.from(server.key) },
    health: { watchLimit },
  });
}

function open(watches: readonly Watching[]): number {
  return watches.filter(({ ended }) => ended === undefined).length;
}

describe("watches that take all places", () => {
  it("A10 L10 of ten addresses make room for newcomers: the oldest of whoever has most ends", async () => {
    await using wall = await watchedServer({ perPeer: 10, total: 100 });
    using watchers = new Watchers(wall);
    const attackers: Watching[][] = [];
    for (let i = 0; i < 10; i++) {
      const watchFromThere = await watchers.from(`127.0.1.${i + 1}`);
      const watches: Watching[] = [];
      for (let n = 0; n < 10; n++) watches.push(await watchFromThere());
      attackers.push(watches);
    }
    expect(attackers.map(open)).toEqual(Array(10).fill(10));
    const newcomers: Watching[] = [];
    for (let i = 0; i < 12; i++) newcomers.push(await (await watchers.from(`127.0.2.${i + 1}`))());
    expect(open(newcomers)).toBe(12);
    await eventually(
      () => attackers.flat().filter(({ ended }) => ended !== undefined).length === 12,
      "12 ends",
    );
    // Each in turn, and of each the oldest, with the status of a watch that is refused.
    expect(attackers.map((watches) => watches[0]?.ended)).toEqual(Array(10).fill("RESOURCE_EXHAUSTED"));
    expect(attackers.map(open).sort()).toEqual([8, 8, ...Array(8).fill(9)]);
    // Told as before.
    wall.server.health.setStatus("", "NOT_SERVING");
    expect(open(newcomers)).toBe(12);
  });

  it("A10 end for nobody who has as many, or who has all that one may have", async () => {
    await using wall = await watchedServer({ perPeer: 3, total: 5 });
    using watchers = new Watchers(wall);
    const [one, other] = [await watchers.from("127.0.1.1"), await watchers.from("127.0.1.2")];
    const first = [await one(), await one(), await one()];
    const second = [await other(), await other()];
    // It would have three then, and the first two.
    expect((await other()).ended).toBe("RESOURCE_EXHAUSTED");
    expect((await one()).ended).toBe("RESOURCE_EXHAUSTED");
    expect([open(first), open(second)]).toEqual([3, 2]);
  });
});
