// Health on ports of their own (O1): what a kubelet needs, and nothing for anybody else.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { get as httpGet } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { Client, credentials } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { check, watch } from "../harness/health.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { eventually, type Secured, secured } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";

const both = { plaintextAddress: "127.0.0.1:0", httpAddress: "127.0.0.1:0" } as const;

function plaintext(wall: Secured): Client {
  return new Client(wall.server.health.addresses.plaintext ?? "", credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
}

async function get(wall: Secured, path: string, method = "GET"): Promise<readonly [number, string]> {
  const answer = await fetch(`http://${wall.server.health.addresses.http}${path}`, { method });
  return [answer.status, await answer.text()];
}

function rawPlaintext(wall: Secured): ClientHttp2Session {
  const session = connectHttp2(`http://${wall.server.health.addresses.plaintext}`);
  session.on("error", () => {});
  return session;
}

describe("O1 the plaintext health port", () => {
  it("O1 answers Check and Watch, as the server's status is", async () => {
    await using wall = await secured({ health: both });
    const client = plaintext(wall);
    expect(await check(client, "")).toMatchObject({ name: "OK", value: { status: "SERVING" } });
    expect(await check(client, "test.v1.Kinds")).toMatchObject({ value: { status: "SERVING" } });
    const watching = watch(client, "");
    await watching.next("SERVING");
    wall.server.health.setStatus("", "NOT_SERVING");
    await watching.next("NOT_SERVING");
    expect(await check(client, "")).toMatchObject({ value: { status: "NOT_SERVING" } });
    watching.cancel();
    client.close();
  });

  it.each(kinds)(
    "O1 the application's %s method is not there, with the best of credentials",
    async (kind) => {
      await using wall = await secured({ health: both });
      const client = plaintext(wall);
      const metadata = await wall.authorized();
      expect(await invoke(client, kind, { metadata })).toMatchObject({ name: "UNIMPLEMENTED" });
      expect(await invoke(client, "unary", { metadata, path: "/grpc.health.v1.Health/List" })).toMatchObject({
        name: "UNIMPLEMENTED",
      });
      expect(wall.started).toEqual([]);
      client.close();
    },
  );

  it("O1 has limits of its own: sizes, pings", async () => {
    await using wall = await secured({ health: both });
    const client = plaintext(wall);
    expect(await check(client, "")).toMatchObject({ name: "OK" });
    expect(await check(client, "x".repeat(2000))).toMatchObject({ name: "RESOURCE_EXHAUSTED" });
    client.close();
    const session = rawPlaintext(wall);
    const goodbye = once(session, "goaway");
    await once(session, "connect");
    for (let i = 0; i < 8; i++) session.ping(() => {});
    const [code, , data] = await goodbye;
    expect([code, Buffer.from(data).toString()]).toEqual([11, "too_many_pings"]);
    // The port that matters is not touched by any of it.
    expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
  });
});

type Port = "plaintext" | "http";

/** One probe, over a connection of its own, as Kubernetes sends them: answered or not. */
const probes: Readonly<Record<Port, (wall: Secured) => Promise<boolean>>> = {
  plaintext: async (wall) => {
    const client = plaintext(wall);
    const { name } = await check(client, "");
    client.close();
    return name === "OK";
  },
  http: (wall) =>
    new Promise((resolve) => {
      const url = `http://${wall.server.health.addresses.http}/healthz`;
      const request = httpGet(url, { agent: false }, (answer) => resolve(answer.statusCode === 200));
      request.on("error", () => resolve(false));
    }),
};

/** Connections that say nothing, so many from each of the addresses: 127.0.0.2 and on. */
async function strangers(wall: Secured, port: Port, addresses: number, each: number): Promise<Socket[]> {
  const { port: number } = new URL(`http://${wall.server.health.addresses[port]}`);
  const sockets: Socket[] = [];
  for (let i = 0; i < addresses * each; i++) {
    const localAddress = `127.0.0.${2 + (i % addresses)}`;
    const socket = connect({ port: Number(number), host: "127.0.0.1", localAddress });
    socket.on("error", () => {}).resume();
    await once(socket, "connect");
    sockets.push(socket);
  }
  return sockets;
}

const open = (sockets: readonly Socket[]): number => sockets.filter(({ destroyed }) => !destroyed).length;

describe.each(["plaintext", "http"] as const)("O1 the places of the %s health port", (port) => {
  it.each([
    { what: "one address", addresses: 1, each: 120, left: 10 },
    { what: "twenty addresses", addresses: 20, each: 10, left: 100 },
  ])("O1 $what cannot take them from the kubelet", async ({ addresses, each, left }) => {
    await using wall = await secured({ health: both });
    const sockets = await strangers(wall, port, addresses, each);
    // Their own oldest connections made room.
    await eventually(() => open(sockets) <= left, "room");
    expect(open(sockets)).toBe(left);
    expect(sockets.at(-1)?.destroyed).toBe(false);
    for (let i = 0; i < 5; i++) expect(await probes[port](wall)).toBe(true);
    expect(wall.lines).toContainEqual(
      expect.objectContaining({ level: 40, reason: "health_connection_limit", peer: "127.0.0.2" }),
    );
    for (const socket of sockets) socket.destroy();
    // The port that matters is not touched by any of it.
    expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
  });
});

it("O1 a watch stays where others hold more connections than it", async () => {
  await using wall = await secured({ health: both });
  const client = plaintext(wall);
  const watching = watch(client, "");
  await watching.next("SERVING");
  const sockets = await strangers(wall, "plaintext", 20, 10);
  await eventually(() => open(sockets) < 100, "room");
  wall.server.health.setStatus("", "NOT_SERVING");
  await watching.next("NOT_SERVING");
  expect(watching.told).toEqual(["SERVING", "NOT_SERVING"]);
  for (const socket of sockets) socket.destroy();
  client.close();
});

describe("O1 /healthz over HTTP", () => {
  it("O1 is 200 while the server serves, and 503 while it does not", async () => {
    await using wall = await secured({ health: both });
    expect(await get(wall, "/healthz")).toEqual([200, "SERVING\n"]);
    expect(await get(wall, "/healthz?verbose")).toEqual([200, "SERVING\n"]);
    expect(await get(wall, "/healthz", "HEAD")).toEqual([200, ""]);
    wall.server.health.setStatus("", "NOT_SERVING");
    expect(await get(wall, "/healthz")).toEqual([503, "NOT_SERVING\n"]);
  });

  it.each([
    ["GET", "/", 404],
    ["GET", "/healthz/../etc/passwd", 404],
    ["GET", "/metrics", 404],
    ["POST", "/healthz", 405],
    ["DELETE", "/healthz", 405],
  ])("O1 %s %s is %i", async (method, path, status) => {
    await using wall = await secured({ health: both });
    expect((await get(wall, path, method))[0]).toBe(status);
  });

  it("O1 is 503 while calls are drained, and gone afterwards", async () => {
    const wall = await secured({ health: both });
    const metadata = await wall.authorized();
    const client = wall.client();
    let closed: Promise<void> | undefined;
    let seen: readonly [number, string] | undefined;
    await invoke(client, "bidi_stream", {
      metadata,
      keepOpen: true,
      onMessage: (_note, call) => {
        closed = wall.server.shutdown({ graceMs: waitMs });
        void get(wall, "/healthz").then((answer) => {
          seen = answer;
          if ("write" in call) call.end();
        });
      },
    });
    await closed;
    expect(seen).toEqual([503, "NOT_SERVING\n"]);
    await expect(get(wall, "/healthz")).rejects.toThrow();
    await wall.close();
  });
});

describe("O1 the addresses of the health ports", () => {
  it("O1 one that is taken is a ConfigError of listen(), and leaves nothing open", async () => {
    await using first = await secured({ health: both });
    const taken = first.server.health.addresses;
    await expect(secured({ health: { httpAddress: taken.http } })).rejects.toThrow(
      /health\.httpAddress: cannot be bound/,
    );
    await expect(secured({ health: { plaintextAddress: taken.plaintext } })).rejects.toThrow(
      /health\.plaintextAddress: cannot be bound/,
    );
  });

  it.each(["50052", "localhost", "http://localhost:1", "", "localhost:99999999"])(
    "O1 %j is none",
    async (address) => {
      await expect(secured({ health: { httpAddress: address } })).rejects.toThrow(/health\.httpAddress: /);
      await expect(secured({ health: { plaintextAddress: address } })).rejects.toThrow(
        /health\.plaintextAddress: /,
      );
    },
  );
  it("O1 without the options there are none, and paths of the application stay where they are", async () => {
    await using wall = await secured();
    expect(wall.server.health.addresses).toEqual({});
    expect(paths.unary).toBe("/test.v1.Kinds/Unary");
  });
});
