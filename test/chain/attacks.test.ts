// What an attacker with the source tried, each as it was tried.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect as tlsConnect } from "node:tls";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/grpc/method.ts";
import { redactSecrets } from "../../src/observability/redaction.ts";
import { check } from "../harness/health.ts";
import { countInflaters } from "../harness/inflaters.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { expectRelativeCost } from "../harness/relative-cost.ts";
import { secured } from "../harness/secured.ts";

/** `HealthCheckRequest { service }` in protobuf. */
function probe(service: string): Buffer {
  const name = Buffer.from(service);
  const length: number[] = [];
  for (let rest = name.length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest % 128) | 128);
  }
  return Buffer.concat([Buffer.from([10, ...length]), name]);
}

describe("a stranger's health probes", () => {
  it.each(["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])(
    "A10 L4 may hold no more than a name: a compressed bomb to %s is refused at once",
    async (path) => {
      await using wall = await secured();
      const connection = await RawConnection.open(wall);
      const bomb = gzipSync(probe("a".repeat(4 * 1024 * 1024 - 100)));
      const seen = await connection.call(path, {
        headers: { "grpc-encoding": "gzip" },
        body: grpcFrame(bomb, 1),
        keepOpen: true,
      }).answer;
      expect(seen).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "message too large" });
      connection.cut();
    },
  );

  it("A10 an honest probe passes, compressed too", async () => {
    await using wall = await secured();
    const connection = await RawConnection.open(wall);
    const seen = await connection.call("/grpc.health.v1.Health/Check", {
      headers: { "grpc-encoding": "gzip" },
      body: grpcFrame(gzipSync(probe("")), 1),
    }).answer;
    expect(seen).toMatchObject({ name: "OK" });
    connection.cut();
  });
});

describe("compressed messages", () => {
  it("C13 L4 arrive whole and in order, inflated one after another", async () => {
    await using wall = await secured();
    const { authorization } = await wall.authorized();
    const connection = await RawConnection.open(wall);
    const texts = Array.from({ length: 50 }, (_, i) => `note ${i}`);
    const body = Buffer.concat(
      texts.map((text, i) =>
        i % 3 === 0
          ? grpcFrame(Buffer.from(JSON.stringify({ text })))
          : grpcFrame(gzipSync(Buffer.from(JSON.stringify({ text }))), 1),
      ),
    );
    const seen = await connection.call(paths.client_stream, {
      headers: { authorization, "grpc-encoding": "gzip" },
      body,
    }).answer;
    expect(seen.name).toBe("OK");
    expect(seen.body.toString("utf8")).toContain(texts.join(","));
    expect(wall.started).toEqual(["client_stream"]);
    connection.cut();
  });
});

const packed = grpcFrame(gzipSync("{}"), 1);
const plain = grpcFrame("{}");
const mixtures: readonly [string, readonly Buffer[]][] = [
  ["all compressed", Array<Buffer>(200).fill(packed)],
  ["after as many that are not", [...Array<Buffer>(200).fill(plain), ...Array<Buffer>(200).fill(packed)]],
  ["each after one that is not", Array<Buffer[]>(200).fill([plain, packed]).flat()],
];
const reading: readonly MethodKind[] = ["client_stream", "bidi_stream"];

describe.each(reading)("two hundred compressed messages of one %s call", (kind) => {
  it.each(mixtures)("C13 L4 are inflated one at a time: %s", async (_how, messages) => {
    using inflaters = countInflaters();
    await using wall = await secured();
    await using connection = await RawConnection.open(wall);
    const seen = await connection.call(paths[kind], {
      headers: { ...(await wall.authorized()), "grpc-encoding": "gzip" },
      body: Buffer.concat(messages),
    }).answer;
    expect(seen.name).toBe("OK");
    expect(inflaters.all).toBe(200);
    // The next one starts while the last one is delivered.
    expect(inflaters.most).toBeLessThanOrEqual(2);
  });
});

/** A field for HPACK, literal and without indexing (RFC 7541 section 6.2.2); neither part is longer than 126. */
function field(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
}

function http2Frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** Does what the server sent hold a GOAWAY frame? */
function goneAway(sent: Buffer): boolean {
  for (let at = 0; at + 9 <= sent.length; at += 9 + sent.readUIntBE(at, 3))
    if (sent.readUInt8(at + 3) === 7) return true;
  return false;
}

describe("streams that are opened and reset in one breath (CVE-2023-44487)", () => {
  it.each(kinds)("L2 end in GOAWAY after a thousand, with no %s call in flight", async (kind) => {
    const meters = registerMeterProvider();
    await using wall = await secured({ rateLimit: { perPeer: false } });
    const socket = tlsConnect({
      host: "127.0.0.1",
      port: wall.port,
      servername: "localhost",
      ALPNProtocols: ["h2"],
      ca: wall.world.ca.caPem,
      cert: wall.world.client.cert,
      key: wall.world.client.key,
    });
    await once(socket, "secureConnect");
    let sent = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      sent = Buffer.concat([sent, chunk]);
    });
    socket.on("error", () => {});
    const headers = Buffer.concat([
      field(":method", "POST"),
      field(":scheme", "https"),
      field(":path", paths[kind]),
      field(":authority", "localhost"),
      field("content-type", "application/grpc"),
      field("te", "trailers"),
    ]);
    const cancel = Buffer.from([0, 0, 0, 8]);
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write(http2Frame(4, 0, 0, Buffer.alloc(0)));
    // Not every one of so many has a line of its own in the log.
    const ended = async (): Promise<number> => {
      const { points } = await meters.read("grpc.server.call.duration");
      return points.reduce((sum, { value }) => sum + (value as { readonly count: number }).count, 0);
    };
    const since = performance.now();
    // What has arrived in one go is taken whole, also where the limit lies within it: a piece goes when the last is done.
    const piece = 100;
    for (let first = 0; first < 5_000 && !goneAway(sent); first += piece) {
      const streams = Array.from({ length: piece }, (_, i) => 2 * (first + i) + 1);
      socket.write(
        Buffer.concat(streams.flatMap((id) => [http2Frame(1, 4, id, headers), http2Frame(3, 0, id, cancel)])),
      );
      while (!goneAway(sent) && (await ended()) < first + piece)
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // One by one they are in no limit of streams: HTTP/2 itself lets 1,000 of them pass, and then 33 a second.
    expect(goneAway(sent)).toBe(true);
    const passed = 1_000 + 33 * ((performance.now() - since) / 1000);
    const client = wall.client();
    expect((await invoke(client, kind, { metadata: await wall.authorized() })).name).toBe("OK");
    await wall.callLine(({ grpc_code }) => grpc_code === "OK");
    // The good call is one more, and the last piece was taken whole.
    expect(await ended()).toBeLessThan(passed + 2 * piece);
    expect(wall.started).toEqual([kind]);
    socket.destroy();
    await wall.server.shutdown({ graceMs: 60_000 });
    expect(wall.lines.filter(({ msg }) => msg?.includes("still open after graceMs") === true)).toEqual([]);
    await meters.shutdown();
  });
});

describe("shutdown", () => {
  it("C9 that comes while listen() is at work leaves nothing running", async () => {
    await using wall = await secured();
    const { createSecureServer, allowAuthenticated, anonymous } = await import("../../src/index.ts");
    const server = createSecureServer({
      tls: { cert: Buffer.from(wall.world.server.cert), key: Buffer.from(wall.world.server.key) },
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      logger: false,
    });
    const listening = server.listen("127.0.0.1:0");
    await server.shutdown({ graceMs: 0 });
    const { port } = await listening;
    const { connect } = await import("node:net");
    const refused = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("error", (error: Error & { code?: string }) => resolve(error.code));
      socket.once("connect", () => resolve("connected"));
    });
    expect(refused).toBe("ECONNREFUSED");
  });

  it.each([Number.POSITIVE_INFINITY, -1, 2 ** 31, 0.5])("C9 refuses graceMs %s", async (graceMs) => {
    await using wall = await secured();
    await expect(wall.server.shutdown({ graceMs })).rejects.toThrow("shutdown.graceMs");
  });
});

describe("the log", () => {
  it("U4 shows no character that a terminal obeys, whatever path a stranger asks for", async () => {
    await using wall = await secured();
    const connection = await RawConnection.open(wall);
    await connection.call("/\u009b31m\u0085x/y").answer;
    const line = await wall.callLine(({ grpc_code }) => grpc_code === "UNAUTHENTICATED");
    expect(JSON.stringify(line)).toMatch(/^[ -~]*$/);
    connection.cut();
  });

  it("U4 is redacted in time that grows with the text alone", () => {
    expect(redactSecrets("postgres://user:p://ss@host", 256)).not.toContain("ss@");
    // A hundred times as long where each `://` was searched for 512 characters.
    expectRelativeCost(
      () => redactSecrets("://".repeat(5333), 256),
      () => redactSecrets("abc".repeat(5333), 256),
      25,
    );
  });

  it.each(kinds)("C5 says why a %s handler's own code was not passed on", async (kind) => {
    const error = { code: 5, message: "no such order" };
    const fail = (call: NodeJS.EventEmitter, callback?: (error: unknown) => void): void => {
      if (callback === undefined) call.emit("error", error);
      else callback(error);
    };
    await using wall = await secured({
      handlers: { unary: fail, clientStream: fail, serverStream: fail, bidiStream: fail } as never,
    });
    const seen = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(seen.name).toBe("INTERNAL");
    const line = await wall.callLine(({ grpc_code }) => grpc_code === "INTERNAL");
    expect(line["hint"]).toContain("throw new StatusError");
    expect(line["err"]).toMatchObject({ type: "Object", message: "no such order", code: 5 });
  });

  it("A11 names the issuer that is not ours, in the log alone", async () => {
    await using wall = await secured();
    const seen = await invoke(wall.client(), "unary", {
      metadata: await wall.authorized({ iss: "https://other.example/" }),
    });
    expect(seen).toMatchObject({ name: "UNAUTHENTICATED", details: "invalid credentials" });
    const line = await wall.callLine(({ grpc_code }) => grpc_code === "UNAUTHENTICATED");
    expect(JSON.stringify(line["err"])).toContain("https://other.example/");
  });
});

it("A10 probes are answered after all that", async () => {
  await using wall = await secured();
  expect((await check(wall.client(), "")).name).toBe("OK");
});
