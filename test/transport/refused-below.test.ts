// What never becomes a call is refused all the same, counted, and logged once for each peer and reason (C8). The server
// goes on.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { constants } from "node:http2";
import { type Socket, connect as tcpConnect } from "node:net";
import { type ConnectionOptions, connect as tlsConnect } from "node:tls";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { type KeptMetrics, keepMetrics } from "../harness/kept-metrics.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";
import { fixedHeaders, forgeHeaders, openWire } from "../harness/wire.ts";

let kept: KeptMetrics;
beforeAll(() => {
  kept = keepMetrics();
});
afterAll(() => kept.close());

async function countOf(reason: string): Promise<number> {
  const points = await kept.points("palisade.connections.refused");
  return points.find(({ attributes }) => (attributes as { reason?: string }).reason === reason)?.value ?? 0;
}

/** Until the server hangs up. */
async function hungUp(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  socket.resume();
  if (socket.destroyed) return;
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async function tcp(wall: Secured, text: string | Buffer): Promise<void> {
  const socket = tcpConnect(wall.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(text);
  await hungUp(socket);
}

async function tls(wall: Secured, options: ConnectionOptions, text?: string): Promise<void> {
  const { ca, client } = wall.world;
  const socket = tlsConnect({
    host: "127.0.0.1",
    port: wall.port,
    servername: "localhost",
    ALPNProtocols: ["h2"],
    ca: ca.caPem,
    cert: client.cert,
    key: client.key,
    ...options,
  });
  if (text !== undefined) socket.once("secureConnect", () => socket.write(text));
  await hungUp(socket);
}

interface Attack {
  readonly title: string;
  readonly reason: string;
  run(wall: Secured): Promise<void>;
}

const strangers = createCertificateAuthority({ name: "Another CA" });
const strange = strangers.then((ca) => ca.issue({ commonName: "stranger", usage: "client" }));

const attacks: readonly Attack[] = [
  {
    title: "bytes that are no TLS",
    reason: "tls_handshake",
    run: (wall) => tcp(wall, Buffer.alloc(100, 0x41)),
  },
  {
    title: "HTTP/1.1 in plaintext",
    reason: "tls_handshake",
    run: (wall) => tcp(wall, "GET / HTTP/1.1\r\n\r\n"),
  },
  { title: "HTTP/2 in plaintext", reason: "tls_handshake", run: (wall) => tcp(wall, preface) },
  {
    title: "a client of TLS 1.2",
    reason: "tls_handshake",
    run: (wall) => tls(wall, { maxVersion: "TLSv1.2" }),
  },
  {
    title: "a client without a certificate",
    reason: "certificate",
    run: (wall) => tls(wall, { cert: undefined, key: undefined } as ConnectionOptions),
  },
  {
    title: "a certificate of another CA",
    reason: "certificate",
    async run(wall) {
      const { cert, key } = await strange;
      await tls(wall, { cert, key });
    },
  },
  {
    title: "a certificate for servers",
    reason: "certificate",
    async run(wall) {
      const { cert, key } = await wall.world.ca.issue({ commonName: "a server", usage: "server" });
      await tls(wall, { cert, key });
    },
  },
  {
    title: "a certificate that has ended",
    reason: "certificate",
    async run(wall) {
      const { cert, key } = await wall.world.ca.issue({
        commonName: "old",
        usage: "client",
        notBefore: new Date(Date.now() - 200_000),
        notAfter: new Date(Date.now() - 100_000),
      });
      await tls(wall, { cert, key });
    },
  },
  {
    title: "a client that did not agree on HTTP/2",
    reason: "tls_handshake",
    run: (wall) => tls(wall, { ALPNProtocols: ["http/1.1"] }, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
  },
  {
    title: "a client without ALPN",
    reason: "unknown_protocol",
    run: (wall) => tls(wall, { ALPNProtocols: [] }, preface),
  },
  {
    title: "bytes that are no HTTP/2",
    reason: "http2_error",
    run: (wall) => tls(wall, {}, "this is not HTTP/2 at all, however long it goes on"),
  },
];

describe.each(attacks)("$title", ({ reason, run }) => {
  it(`C8 is refused as ${reason}, counted each time and logged once; the server goes on`, async () => {
    await using wall = await secured();
    const before = await countOf(reason);
    await run(wall);
    await run(wall);
    await run(wall);
    const lines = (): typeof wall.lines => wall.lines.filter((line) => line["reason"] === reason);
    const counted = async (): Promise<number> => (await countOf(reason)) - before;
    await expect.poll(counted).toBe(3);
    expect(lines()).toEqual([expect.objectContaining({ level: 40, peer: "127.0.0.1", left_out: 0 })]);
    expect(wall.lines.filter(({ level }) => level >= 40)).toHaveLength(1);
    const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(result.name).toBe("OK");
  });
});

it("C8 one who is refused often does not fill the log, and another reason is still told", async () => {
  await using wall = await secured();
  for (let i = 0; i < 30; i++) await tcp(wall, "not TLS");
  await tls(wall, { ALPNProtocols: [] }, preface);
  await eventually(
    () => wall.lines.find((line) => line["reason"] === "unknown_protocol"),
    "the other reason",
  );
  expect(wall.lines.filter((line) => line["reason"] === "tls_handshake")).toHaveLength(1);
});

it("C8 a client with a certificate of another CA does not hide one from the same address that has none", async () => {
  await using wall = await secured();
  const { cert, key } = await strange;
  await tls(wall, { cert, key });
  await tls(wall, { cert, key });
  await tls(wall, { cert: undefined, key: undefined } as ConnectionOptions);
  const lines = () => wall.lines.filter((line) => line["reason"] === "certificate");
  await eventually(() => lines().length === 2, "both lines");
  expect(lines().map(({ detail }) => detail)).toEqual([
    expect.stringMatching(/^[A-Z_]+$/),
    "the client sent no certificate (ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE)",
  ]);
});

it("C8 what was left out is told at the end of the server at the latest", async () => {
  const wall = await secured();
  for (let i = 0; i < 3; i++) await tcp(wall, "not TLS");
  const lines = () => wall.lines.filter((line) => line["reason"] === "tls_handshake");
  await eventually(() => lines().length === 1, "the first line");
  await wall.close();
  const [first, last, ...more] = lines();
  expect(last).toMatchObject({ level: 40, peer: "127.0.0.1", detail: first?.["detail"], left_out: 2 });
  expect(more).toEqual([]);
});

it("C8 T2 the line names the certificate that is refused, made fit for a log", async () => {
  const all = await theWorld();
  const odd = await (await createCertificateAuthority({ name: "An odd CA" })).issue({
    commonName: ["billing\u202e", "password=hunter2"],
    usage: "client",
  });
  await using wall = await secured({
    tls: {
      cert: Buffer.from(all.server.cert),
      key: Buffer.from(all.server.key),
      clientCa: Buffer.from(all.ca.caPem),
      clientAuth: "request",
    },
  });
  await tls(wall, { cert: odd.cert, key: odd.key });
  const line = await eventually(() => wall.lines.find(({ reason }) => reason === "certificate"), "the line");
  expect(line).toMatchObject({
    subject: "CN=billing\ufffd, CN=password=[redacted]",
    issuer: "CN=An odd CA",
  });
});

interface NoCall {
  readonly title: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly httpStatus: number;
  readonly detail: string;
}

const ofType = (type: string, detail = "not application/grpc"): NoCall => ({
  title: type === "" ? "an empty content type" : type,
  headers: { "content-type": type },
  httpStatus: 415,
  detail,
});
const ofMethod = (method: string): NoCall => ({
  title: method,
  headers: { ":method": method },
  httpStatus: 405,
  detail: "not a POST",
});
const useProxy =
  "gRPC-Web, which this server does not speak: put a proxy in front that translates it, such as Envoy with its grpc_web filter";

const noCalls: readonly NoCall[] = [
  ofType("application/json"),
  ofType(""),
  ofType("APPLICATION/GRPC"),
  ofType("application/grpcfoo"),
  ofType("application/grpc/proto"),
  ofType("application/grpc proto"),
  ofType("text/html; application/grpc"),
  ofType("application/connect+proto"),
  ofType("application/grpc-web", useProxy),
  ofType("application/grpc-web+proto", useProxy),
  ofType("application/grpc-web-text", useProxy),
  ofMethod("GET"),
  ofMethod("HEAD"),
  ofMethod("PUT"),
  ofMethod("OPTIONS"),
  ofMethod("BREW"),
];

const ports: readonly (readonly [port: string, open: (wall: Secured) => Promise<RawConnection>])[] = [
  ["TLS", (wall) => RawConnection.open(wall)],
  ["plaintext", (wall) => RawConnection.openPlain(wall)],
];
const optionsOf = (port: string): SecuredOptions =>
  port === "TLS" ? {} : { tls: { plaintext: "loopback" } };
const everyPath = [...Object.values(paths), "/no.Such/Method"];

describe.each(ports)("N2 a request that is no gRPC call, over %s", (port, open) => {
  it.each(noCalls)(
    "N2 C8 $title is $httpStatus on every path, and its stream is freed though the caller goes on sending",
    async (noCall) => {
      const { headers, httpStatus, detail } = noCall;
      await using wall = await secured(optionsOf(port));
      await using raw = await open(wall);
      const before = await countOf("content_type");
      const credential = await wall.authorized();
      const calls = everyPath.map((path) =>
        raw.call(path, { headers: { ...credential, ...headers }, keepOpen: true }),
      );
      for (const { answer } of calls) {
        const { headers: told, rstCode } = await answer;
        expect(told).toMatchObject({
          ":status": httpStatus,
          ...(httpStatus === 405 ? { allow: "POST" } : {}),
        });
        expect(told["grpc-status"]).toBeUndefined();
        expect(rstCode).toBe(constants.NGHTTP2_NO_ERROR);
      }
      expect(wall.started).toEqual([]);
      expect((await countOf("content_type")) - before).toBe(everyPath.length);
      expect(wall.lines.filter((line) => line["reason"] === "content_type")).toEqual([
        expect.objectContaining({ level: 40, detail, peer: "127.0.0.1" }),
      ]);
      expect(wall.lines.filter((line) => line["grpc_code"] !== undefined)).toEqual([]);
      expect(await raw.call(paths.unary, { headers: credential }).answer).toMatchObject({ name: "OK" });
    },
  );

  it("N2 C8 C3 a CONNECT is 405, and ends neither the process nor the connection", async () => {
    await using wall = await secured(optionsOf(port));
    await using raw = await open(wall);
    const stream = raw.session.request({
      ":method": "CONNECT",
      ":authority": "localhost",
      "content-type": "application/grpc",
    });
    const [headers] = await once(stream, "response");
    expect(headers).toMatchObject({ ":status": 405, allow: "POST" });
    stream.resume();
    await once(stream, "close");
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    expect(wall.lines).toContainEqual(
      expect.objectContaining({ reason: "content_type", detail: "not a POST" }),
    );
    expect(await raw.call(paths.unary, { headers: await wall.authorized() }).answer).toMatchObject({
      name: "OK",
    });
  });

  it("C3 such requests that are reset at once end neither the process nor the connection", async () => {
    await using wall = await secured(optionsOf(port));
    await using raw = await open(wall);
    for (const { headers } of noCalls)
      raw.call(paths.unary, { headers, keepOpen: true }).stream.close(constants.NGHTTP2_CANCEL);
    expect(await raw.call(paths.unary, { headers: await wall.authorized() }).answer).toMatchObject({
      name: "OK",
    });
  });

  it.each(kinds)("N2 what may stand behind application/grpc in a %s call is let in", async (kind) => {
    await using wall = await secured(optionsOf(port));
    await using raw = await open(wall);
    const credential = await wall.authorized();
    for (const more of ["", "+proto", "+json", "+", ";", "; charset=utf-8", "+proto;v=1"]) {
      const headers = { ...credential, "content-type": `application/grpc${more}` };
      expect((await raw.call(paths[kind], { headers }).answer).name).toBe("OK");
    }
  });
});

it.each([
  ["the good one first", (good: string) => [good, "Bearer other"]],
  ["the good one last", (good: string) => ["Bearer other", good]],
  ["the good one and one that gRPC does not allow", (good: string) => [good, "Bearer \u00f6"]],
  ["one that gRPC does not allow and the good one", (good: string) => ["Bearer \u00f6", good]],
  ["the good one twice", (good: string) => [good, good]],
])("A6 of two credentials none is passed over: %s", async (_name, both) => {
  await using wall = await secured();
  const { authorization } = await wall.authorized();
  const fields = Object.entries(fixedHeaders(wall, paths.unary));
  for (const value of both(authorization)) fields.push(["authorization", value]);
  await using wire = await openWire(wall, { outbound: forgeHeaders(fields) });
  const result = await wire.call({ path: paths.unary, messages: [Buffer.from('{"text":"a"}')] }).ended;
  expect(result).toMatchObject({ code: status.UNAUTHENTICATED, message: "invalid credentials" });
  expect(wall.started).toEqual([]);
});

describe("a credential that gRPC does not allow in metadata", () => {
  it.each([
    ["authorization", "Bearer tök-billing-cards"],
    ["x-api-key", "plsd_ké-billing-cards"],
  ])("A6 is a bad credential and not a missing one, and nothing writes it down: %s", async (name, value) => {
    await using wall = await secured();
    await using raw = await RawConnection.open(wall);
    const written: string[] = [];
    const spies = [
      vi.spyOn(console, "error").mockImplementation((...args) => void written.push(args.join(" "))),
      vi.spyOn(process.stderr, "write").mockImplementation((text) => written.push(String(text)) > 0),
    ];
    try {
      const answer = await raw.call(paths.unary, { headers: { [name]: value } }).answer;
      expect(answer).toMatchObject({ name: "UNAUTHENTICATED", details: "invalid credentials" });
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
    expect(written.join("\n")).not.toContain("billing-cards");
    expect(JSON.stringify(await wall.callLine(() => true))).not.toContain("billing-cards");
  });
});
