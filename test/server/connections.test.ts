// What a connection may do before and between its calls: how many there may be, how long they may take to say who they
// are. How often they may ping: see pings.test.ts.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { metrics as otel } from "@opentelemetry/api";
import { afterEach, describe, expect, it } from "vitest";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { eventually, type Secured, secured } from "../harness/secured.ts";
import { openWire } from "../harness/wire.ts";

afterEach(() => otel.disable());

/** A TCP connection from one of this machine's loopback addresses. */
function tcp(wall: Secured, localAddress = "127.0.0.1"): Socket {
  const socket = connect({ port: wall.port, host: "127.0.0.1", localAddress });
  socket.on("error", () => {});
  return socket;
}

async function opened(wall: Secured, localAddress?: string): Promise<Socket> {
  const socket = tcp(wall, localAddress);
  await once(socket, "connect");
  return socket;
}

/** Ended by the server. A refused connection is accepted by the system first, so `connect` says nothing. */
function ended(socket: Socket): Promise<unknown> {
  socket.resume();
  return socket.destroyed ? Promise.resolve() : once(socket, "close");
}

/** The server hears of connections in its own time. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Is a connection from this address let in? */
async function shakesHands(wall: Secured, localAddress: string): Promise<boolean> {
  const socket = tlsConnect({
    socket: tcp(wall, localAddress),
    servername: "localhost",
    ALPNProtocols: ["h2"],
    ca: wall.world.ca.caPem,
    cert: wall.world.client.cert,
    key: wall.world.client.key,
  });
  socket.on("error", () => {});
  const shaken = await new Promise<boolean>((resolve) => {
    socket.once("secureConnect", () => resolve(true));
    socket.once("close", () => resolve(false));
  });
  socket.destroy();
  return shaken;
}

describe("L9 the number of connections", () => {
  it("L9 beyond maxConnections new ones are refused before TLS, and those that are open go on", async () => {
    const meters = registerMeterProvider();
    await using wall = await secured({ limits: { maxConnections: 3 } });
    const client = wall.client();
    const metadata = await wall.authorized();
    expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "OK" });
    const attackers = [await opened(wall), await opened(wall)];
    for (let i = 0; i < 20; i++) await ended(tcp(wall));
    for (const kind of kinds) expect(await invoke(client, kind, { metadata })).toMatchObject({ name: "OK" });
    expect(attackers.map(({ destroyed }) => destroyed)).toEqual([false, false]);
    expect(wall.lines.filter(({ reason }) => reason === "connection_limit")).toEqual([
      expect.objectContaining({ level: 40, peer: "127.0.0.1" }),
    ]);
    expect((await meters.read("palisade.connections.refused")).points).toContainEqual({
      attributes: { reason: "connection_limit" },
      value: 20,
    });
    // A place is given back.
    for (const attacker of attackers) attacker.destroy();
    while (!(await shakesHands(wall, "127.0.0.1"))) await turn();
    await meters.shutdown();
  });

  it("L9 one address may not take all of them", async () => {
    await using wall = await secured({ limits: { maxConnectionsPerPeer: 2 } });
    await opened(wall, "127.0.0.2");
    await opened(wall, "127.0.0.2");
    while (await shakesHands(wall, "127.0.0.2")) await turn();
    expect(await shakesHands(wall, "127.0.0.3")).toBe(true);
    expect(wall.lines).toContainEqual(
      expect.objectContaining({ reason: "peer_connection_limit", peer: "127.0.0.2" }),
    );
  });

  it("L9 a configured proxy, through which everybody comes, is not limited by its address", async () => {
    await using wall = await secured({
      limits: { maxConnectionsPerPeer: 1 },
      peer: { trustedProxies: ["127.0.0.9"], addressFrom: "x-forwarded-for" },
    });
    await opened(wall, "127.0.0.9");
    await opened(wall, "127.0.0.9");
    expect(await shakesHands(wall, "127.0.0.9")).toBe(true);
  });
});

describe("L9 the time until a connection speaks HTTP/2", () => {
  const handshakes: readonly (readonly [string, (wall: Secured) => Promise<Socket>])[] = [
    ["says nothing at all", (wall) => opened(wall)],
    [
      "begins a TLS handshake and stops",
      async (wall) => {
        const socket = await opened(wall);
        socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
        return socket;
      },
    ],
    [
      "ends TLS and sends no preface",
      async (wall) => {
        const socket = tlsConnect({
          port: wall.port,
          host: "127.0.0.1",
          servername: "localhost",
          ALPNProtocols: ["h2"],
          ca: wall.world.ca.caPem,
          cert: wall.world.client.cert,
          key: wall.world.client.key,
        });
        socket.on("error", () => {});
        await once(socket, "secureConnect");
        return socket;
      },
    ],
    [
      "sends the preface and no settings",
      async (wall) => {
        const socket = tlsConnect({
          port: wall.port,
          host: "127.0.0.1",
          servername: "localhost",
          ALPNProtocols: ["h2"],
          ca: wall.world.ca.caPem,
          cert: wall.world.client.cert,
          key: wall.world.client.key,
        });
        socket.on("error", () => {});
        await once(socket, "secureConnect");
        socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        return socket;
      },
    ],
  ];

  it.each(handshakes)("L9 a connection that %s is ended, and said once", async (_what, attack) => {
    await using wall = await secured({ limits: { handshakeTimeoutMs: 1_500 } });
    const client = wall.client();
    const metadata = await wall.authorized();
    expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "OK" });
    await ended(await attack(wall));
    const line = await eventually(
      () => wall.lines.find(({ reason }) => reason === "handshake_timeout"),
      "a line",
    );
    expect(line).toMatchObject({ level: 40, peer: "127.0.0.1", detail: "no HTTP/2 within 1500 ms" });
    expect(wall.lines.filter(({ reason }) => reason === "tls_handshake")).toEqual([]);
    expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "OK" });
  });
});

describe("L9 idle and old connections", () => {
  it("L9 a connection with a call open is not idle", async () => {
    await using wall = await secured({ limits: { maxConnectionIdleMs: 1_000 } });
    const headers = await wall.authorized();
    await using wire = await openWire(wall);
    const call = wire.call({
      path: paths.bidi_stream,
      headers,
      messages: [Buffer.from('{"text":"x"}')],
      keepOpen: true,
    });
    await once(call.stream, "data");
    // Several idle times pass on another connection, one after the other.
    for (let i = 0; i < 3; i++) {
      await using idle = await openWire(wall);
      await idle.closed;
    }
    expect(wire.session.closed).toBe(false);
    call.stream.end();
    expect((await call.ended).code).toBe(0);
    await wire.closed;
  });
});
