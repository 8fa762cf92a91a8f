// What one caller may take: calls, streams, messages, metadata; and that it is given back on every way a call can end.
import { Buffer } from "node:buffer";
import { constants } from "node:http2";
import {
  type Client,
  credentials,
  Client as GrpcClient,
  type ServerUnaryCall,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { beforeAll, describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/grpc/method.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import type { IssuedCertificate } from "../../src/testing/certificate-authority.ts";
import { check, watch } from "../harness/health.ts";
import { type AnyClientCall, invoke, kinds, type Note, paths, type Result } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { eventually, type Secured, secured, theWorld, type World } from "../harness/secured.ts";
import { waitMs, withTimeEnough } from "../harness/time.ts";
import {
  deafToStreamLimit,
  fixedHeaders,
  headerListBytes,
  neverAcknowledge,
  openWire,
} from "../harness/wire.ts";

let world: World;
let otherClient: IssuedCertificate;
beforeAll(async () => {
  world = await theWorld();
  otherClient = await world.ca.issue({ uris: ["spiffe://test.example/other"], usage: "client" });
});

function told({ name, details }: Result): string {
  return `${name} ${details}`;
}

/** A client with another certificate, so another peer. */
async function withOtherCertificate<T>(wall: Secured, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new GrpcClient(
    wall.address,
    credentials.createSsl(
      Buffer.from(world.ca.caPem),
      Buffer.from(otherClient.key),
      Buffer.from(otherClient.cert),
    ),
    { "grpc.use_local_subchannel_pool": 1 },
  );
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** Enough of protobuf to read `google.rpc.Status { details: [Any { type_url, RetryInfo { Duration } }] }`. */
function fields(bytes: Buffer): ReadonlyMap<number, readonly (number | Buffer)[]> {
  const found = new Map<number, (number | Buffer)[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes.readUInt8(at++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const list = found.get(key >> 3) ?? [];
    found.set(key >> 3, list);
    if ((key & 7) === 0) {
      list.push(varint());
    } else {
      const length = varint();
      list.push(bytes.subarray(at, at + length));
      at += length;
    }
  }
  return found;
}

function bufferIn(map: ReadonlyMap<number, readonly (number | Buffer)[]>, field: number): Buffer {
  const value = map.get(field)?.[0];
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

function retryInfo(result: Result): {
  readonly code: unknown;
  readonly typeUrl: string;
  readonly ms: number;
} {
  const [sent] = result.trailers.get("grpc-status-details-bin");
  const message = fields(Buffer.isBuffer(sent) ? sent : Buffer.alloc(0));
  const any = fields(bufferIn(message, 3));
  const duration = fields(bufferIn(fields(bufferIn(any, 2)), 1));
  return {
    code: message.get(1)?.[0],
    typeUrl: bufferIn(any, 1).toString(),
    ms: Number(duration.get(1)?.[0] ?? 0) * 1000 + Number(duration.get(2)?.[0] ?? 0) / 1e6,
  };
}

describe.each(kinds)("L1 the rate of %s calls", (kind) => {
  it("L1 a peer over its limit is told when to come back, in three ways that agree", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 2, durationSec: 600 } } });
    const client = wall.client();
    const metadata = await wall.authorized();
    expect(told(await invoke(client, kind, { metadata }))).toBe("OK OK");
    expect(told(await invoke(client, kind, { metadata }))).toBe("OK OK");
    const refused = await invoke(client, kind, { metadata, keepOpen: true });
    expect(told(refused)).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    const pushbackMs = Number(refused.trailers.get("grpc-retry-pushback-ms")[0]);
    expect(pushbackMs).toBeGreaterThan(540_000);
    expect(pushbackMs).toBeLessThanOrEqual(600_000);
    expect(refused.trailers.get("retry-after")).toEqual([String(Math.ceil(pushbackMs / 1000))]);
    expect(retryInfo(refused)).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      typeUrl: "type.googleapis.com/google.rpc.RetryInfo",
      ms: pushbackMs,
    });
    expect(wall.started).toEqual([kind, kind]);
    expect(await wall.auditEntry((entry) => entry.status === "RESOURCE_EXHAUSTED")).toMatchObject({
      decision: "deny",
      rule: "peer-rate-limit",
      caller: null,
    });
  });

  it("L1 a peer is limited before its credentials are looked at", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 600 } } });
    const client = wall.client();
    const metadata = { authorization: "Bearer nonsense" };
    expect(told(await invoke(client, kind, { metadata }))).toBe("UNAUTHENTICATED invalid credentials");
    expect(told(await invoke(client, kind, { metadata }))).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    expect(told(await invoke(client, kind, { metadata: await wall.authorized() }))).toBe(
      "RESOURCE_EXHAUSTED rate limit exceeded",
    );
  });

  it("L1 the peer is the certificate: its connections share a limit, another certificate has its own", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 600 } } });
    const metadata = await wall.authorized();
    expect(told(await invoke(wall.client(), kind, { metadata }))).toBe("OK OK");
    expect(told(await invoke(wall.client(), kind, { metadata }))).toBe(
      "RESOURCE_EXHAUSTED rate limit exceeded",
    );
    await withOtherCertificate(wall, async (client) => {
      expect(told(await invoke(client, kind, { metadata }))).toBe("OK OK");
      expect(told(await invoke(client, kind, { metadata }))).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    });
  });

  it("L1 two principals behind one peer do not share; unidentified calls cost a principal nothing", async () => {
    await using wall = await secured({ rateLimit: { perPrincipal: { points: 1, durationSec: 600 } } });
    const client = wall.client();
    const ada = await wall.authorized();
    for (let i = 0; i < 3; i++) await invoke(client, kind);
    expect(told(await invoke(client, kind, { metadata: ada }))).toBe("OK OK");
    const refused = await invoke(client, kind, { metadata: ada });
    expect(told(refused)).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    expect(retryInfo(refused).ms).toBeGreaterThan(540_000);
    // The same name from another tenant is another principal.
    for (const claims of [{ sub: "bob" }, { tenant: "other" }]) {
      expect(told(await invoke(client, kind, { metadata: await wall.authorized(claims) }))).toBe("OK OK");
    }
    // Another token of the same principal is no other principal, and neither is another connection.
    expect(
      told(await invoke(wall.client(), kind, { metadata: await wall.authorized({ jti: "again" }) })),
    ).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    expect(await wall.auditEntry((entry) => entry.status === "RESOURCE_EXHAUSTED")).toMatchObject({
      decision: "deny",
      rule: "principal-rate-limit",
      caller: { subject: "ada" },
    });
  });

  it("L1 a window that is over starts anew", async () => {
    await using wall = await secured({ rateLimit: { perPrincipal: { points: 1, durationSec: 0.2 } } });
    const client = wall.client();
    const metadata = await wall.authorized();
    const answers = new Set<string>();
    // Several at once, so that some are within one window on a slow machine too.
    const windows = async (): Promise<number> => {
      const told = await Promise.all(Array.from({ length: 5 }, () => ask()));
      for (const answer of told) answers.add(answer);
      return told.includes("OK OK") ? 1 : 0;
    };
    const ask = async (): Promise<string> => told(await invoke(client, kind, { metadata }));
    let oks = 0;
    while (oks < 3 || answers.size < 2) oks += await windows();
    expect(answers).toEqual(new Set(["OK OK", "RESOURCE_EXHAUSTED rate limit exceeded"]));
  });

  it("L1 unknown methods are limited like known ones", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 600 } } });
    const client = wall.client();
    await invoke(client, kind, { path: "/no.such.Service/A" });
    expect(told(await invoke(client, kind, { path: "/no.such.Service/B" }))).toBe(
      "RESOURCE_EXHAUSTED rate limit exceeded",
    );
  });
});

describe("L1 what is exempt", () => {
  it("L1 A10 probes are not limited, and cost nothing", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 600 } } });
    const client = wall.client();
    for (let i = 0; i < 5; i++) expect(await check(client, "")).toMatchObject({ name: "OK" });
    const watching = watch(client, "");
    await watching.next("SERVING");
    expect(told(await invoke(client, "unary", { metadata: await wall.authorized() }))).toBe("OK OK");
    expect(told(await invoke(client, "unary"))).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    expect(await check(client, "")).toMatchObject({ name: "OK" });
    watching.cancel();
  });

  it("L1 by default neither limit stands in the way of an ordinary burst", async () => {
    await using wall = await secured();
    const client = wall.client();
    const metadata = await wall.authorized();
    const results = await Promise.all(
      Array.from({ length: 100 }, () => invoke(client, "unary", { metadata })),
    );
    expect(new Set(results.map(told))).toEqual(new Set(["OK OK"]));
  });
});

describe("L2 streams of one connection", () => {
  it("L2 a connection is told that it may have 100 streams, and the 101st waits", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    expect(wire.session.remoteSettings.maxConcurrentStreams).toBe(100);
    const headers = await wall.authorized();
    const calls = Array.from({ length: 101 }, () =>
      wire.call({ path: paths.bidi_stream, headers, keepOpen: true }),
    );
    await eventually(() => wall.started.length === 100, "a hundred handlers");
    calls[0]?.stream.end();
    await calls[0]?.ended;
    await eventually(() => wall.started.length === 101, "the one that waited");
  });

  it("L2 a caller that opens more than it was told loses its connection; other connections do not notice", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall, { inbound: deafToStreamLimit });
    const client = wall.client();
    const headers = await wall.authorized();
    let end = (): void => {};
    const bystander = invoke(client, "bidi_stream", {
      metadata: headers,
      keepOpen: true,
      onCall: (call) => {
        end = () => "write" in call && call.end();
      },
    });
    await eventually(() => wall.started.length === 1, "the bystander");
    for (let i = 0; i < 101; i++) wire.call({ path: paths.bidi_stream, headers, keepOpen: true });
    await wire.closed;
    await eventually(
      () => wall.lines.find(({ reason }) => reason === "http2_error"),
      "a line about the connection",
    );
    expect(told(await invoke(client, "unary", { metadata: headers }))).toBe("OK OK");
    end();
    expect((await bystander).name).toBe("OK");
  });
});

describe("L2 calls in flight of one principal", () => {
  /** Opens one call that stays, and gives a way to end it. */
  async function open(
    wall: Secured,
    client: Client,
    call: Parameters<typeof invoke>[2] = {},
  ): Promise<{ readonly call: AnyClientCall; readonly ended: Promise<Result> }> {
    let ended: Promise<Result> | undefined;
    const opened = await new Promise<AnyClientCall>((resolve) => {
      ended = invoke(client, "bidi_stream", {
        keepOpen: true,
        onMessage: (_note, started) => resolve(started),
        ...call,
      });
    });
    if (ended === undefined) throw new Error("no call");
    expect(wall.started.length).toBeGreaterThan(0);
    return { call: opened, ended };
  }

  it.each(kinds)("L2 one call too many is refused for a %s call, and streams count", async (kind) => {
    await using wall = await secured({ rateLimit: { inFlightPerPrincipal: 2 } });
    const client = wall.client();
    const metadata = await wall.authorized();
    const opened = [await open(wall, client, { metadata }), await open(wall, wall.client(), { metadata })];
    expect(told(await invoke(client, kind, { metadata }))).toBe(
      "RESOURCE_EXHAUSTED too many calls in flight",
    );
    expect(told(await invoke(client, kind, { metadata: await wall.authorized({ sub: "bob" }) }))).toBe(
      "OK OK",
    );
    for (const { call } of opened) call.cancel();
  });

  interface Ending {
    readonly end: string;
    /** Undefined: the good handlers. */
    readonly handler?: () => unknown;
    readonly policyDenies?: boolean;
    readonly deadlineMs?: number;
    run(call: EndingCall): Promise<string>;
  }

  interface EndingCall {
    readonly wall: Secured;
    readonly kind: MethodKind;
    readonly client: Client;
    readonly metadata: { readonly authorization: string };
    /** Settles when the handler has started. */
    arrived(): Promise<unknown>;
  }

  const endings: readonly Ending[] = [
    {
      end: "OK",
      run: async ({ kind, client, metadata }) => (await invoke(client, kind, { metadata })).name,
    },
    {
      end: "INTERNAL",
      handler() {
        throw new Error("broken");
      },
      run: async ({ kind, client, metadata }) =>
        (await invoke(client, kind, { metadata, keepOpen: true })).name,
    },
    {
      end: "PERMISSION_DENIED",
      policyDenies: true,
      run: async ({ kind, client, metadata }) =>
        (await invoke(client, kind, { metadata, keepOpen: true })).name,
    },
    {
      end: "DEADLINE_EXCEEDED",
      handler() {},
      deadlineMs: 50,
      run: async ({ kind, client, metadata }) =>
        (await invoke(client, kind, { metadata, keepOpen: true })).name,
    },
    {
      end: "RESOURCE_EXHAUSTED",
      run: async ({ kind, client, metadata }) => {
        const messages = [{ text: "x".repeat(5000) }];
        return (await invoke(client, kind, { metadata, keepOpen: true, messages })).name;
      },
    },
    {
      end: "CANCELLED",
      handler() {},
      async run({ kind, client, metadata, arrived }) {
        const cancel = (call: AnyClientCall): void => void arrived().then(() => call.cancel());
        return (await invoke(client, kind, { metadata, keepOpen: true, onCall: cancel })).name;
      },
    },
    {
      end: "the loss of its connection",
      handler() {},
      async run({ wall, kind, metadata, arrived }) {
        const wire = await openWire(wall);
        const messages = [Buffer.from('{"text":"x"}')];
        const call = wire.call({
          path: paths[kind],
          headers: metadata,
          messages,
          keepOpen: !isUnaryRequest(kind),
        });
        await arrived();
        wire.session.destroy();
        await Promise.all([call.ended, wire.closed]);
        return "the loss of its connection";
      },
    },
  ];

  /** Its handler starts with its only message. */
  function isUnaryRequest(kind: MethodKind): boolean {
    return kind === "unary" || kind === "server_stream";
  }

  describe.each(kinds)("of %s calls", (kind) => {
    it.each(endings)("L2 C11 a place is given back when the call ends with $end", async (ending) => {
      if (ending.deadlineMs === undefined) await givesBack(ending, waitMs);
      else await withTimeEnough(ending.deadlineMs, (ms) => givesBack(ending, ms));
    });

    /** False where a handler was not reached before the deadline. */
    async function givesBack(ending: Ending, deadlineMs: number): Promise<boolean> {
      let arrivals = 0;
      let healed = false;
      const { handler } = ending;
      const counted = (): unknown => {
        arrivals += 1;
        return handler?.();
      };
      await using wall = await secured({
        ...(handler === undefined
          ? {}
          : {
              handlers: {
                unary: counted,
                clientStream: counted,
                serverStream: counted,
                bidiStream: counted,
              } as unknown as UntypedServiceImplementation,
            }),
        rateLimit: { inFlightPerPrincipal: 1 },
        limits: { maxReceiveMessageBytes: 4000 },
        deadline: { maxUnaryMs: deadlineMs, maxStreamMs: deadlineMs },
        authorization: {
          name: "own",
          compile: () => ({
            forMethod: () => ({
              access: "checked",
              decide: () => ({
                effect: ending.policyDenies === true && !healed ? "deny" : "allow",
                rule: "own",
              }),
            }),
          }),
        },
      });
      const client = wall.client();
      const metadata = await wall.authorized();
      for (let i = 1; i <= 3; i++) {
        const arrived = (): Promise<unknown> => eventually(() => arrivals === i, "the handler");
        expect(await ending.run({ wall, kind, client, metadata, arrived })).toBe(ending.end);
        // The line is written after the place was given back: hooks run in reverse.
        await eventually(
          () => wall.lines.filter((line) => line["grpc_code"] !== undefined).length === i,
          `line ${i}`,
        );
        if (ending.deadlineMs !== undefined && arrivals < i) return false;
      }
      healed = true;
      const last = await invoke(client, kind, {
        metadata,
        ...(handler === undefined
          ? {}
          : {
              onCall: (call) =>
                void eventually(() => arrivals === 4, "the handler").then(
                  () => call.cancel(),
                  () => {},
                ),
            }),
      });
      expect(last.details).not.toBe("too many calls in flight");
      if (ending.deadlineMs !== undefined && arrivals < 4) return false;
      if (handler !== undefined) expect(arrivals).toBe(4);
      return true;
    }
  });
});

describe.each(kinds)("L4 messages of %s calls", (kind) => {
  it("L4 a message over 4 MiB is refused by default, one below is not", async () => {
    await using wall = await secured();
    const client = wall.client({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
    const metadata = await wall.authorized();
    const overhead = Buffer.byteLength('{"text":""}');
    const most = { text: "x".repeat(4 * 1024 * 1024 - overhead) };
    expect(told(await invoke(client, kind, { metadata, messages: [most] }))).toBe("OK OK");
    const refused = await invoke(client, kind, {
      metadata,
      messages: [{ text: `${most.text}x` }],
      keepOpen: true,
    });
    expect(told(refused)).toBe("RESOURCE_EXHAUSTED message too large");
    expect(refused.messages).toEqual([]);
    expect(await wall.callLine((line) => line["grpc_code"] === "RESOURCE_EXHAUSTED")).toMatchObject({
      level: 40,
      ended_by: "transport",
    });
    expect(await wall.auditEntry((entry) => entry.status === "RESOURCE_EXHAUSTED")).toMatchObject({
      caller: { subject: "ada" },
    });
  });

  it("L4 a small message that is large once decompressed is refused", async () => {
    await using wall = await secured({ limits: { maxReceiveMessageBytes: 10_000 } });
    const gzip = 2;
    const client = wall.client({ "grpc.default_compression_algorithm": gzip });
    const metadata = await wall.authorized();
    expect(told(await invoke(client, kind, { metadata, messages: [{ text: "x".repeat(9000) }] }))).toBe(
      "OK OK",
    );
    const bomb = { text: "x".repeat(1_000_000) };
    expect(told(await invoke(client, kind, { metadata, messages: [bomb], keepOpen: true }))).toBe(
      "RESOURCE_EXHAUSTED message too large",
    );
  });

  it("L4 an answer that is too large is not sent, and says so", async () => {
    await using wall = await secured({ limits: { maxSendMessageBytes: 1000 } });
    const refused = await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      messages: [{ text: "x".repeat(2000) }],
    });
    expect(told(refused)).toBe("RESOURCE_EXHAUSTED message too large");
    expect(refused.messages).toEqual([]);
  });

  it("L4 the server goes on after a message that was too large", async () => {
    await using wall = await secured({ limits: { maxReceiveMessageBytes: 1000 } });
    const client = wall.client();
    const metadata = await wall.authorized();
    for (let i = 0; i < 20; i++) {
      await invoke(client, kind, { metadata, messages: [{ text: "x".repeat(2000) }], keepOpen: true });
    }
    expect(told(await invoke(client, kind, { metadata }))).toBe("OK OK");
  });
});

describe.each(kinds)("L5 metadata of %s calls", (kind) => {
  it("L5 nine KiB are refused by the chain: with a status, a log line and an audit entry, and no handler", async () => {
    await using wall = await secured();
    const refused = await invoke(wall.client(), kind, {
      metadata: { ...(await wall.authorized()), "x-filler": "x".repeat(9 * 1024) },
      keepOpen: true,
    });
    expect(told(refused)).toBe("RESOURCE_EXHAUSTED metadata too large");
    expect(wall.started).toEqual([]);
    expect(await wall.callLine(() => true)).toMatchObject({
      layer: "metadata-limit",
      grpc_code: "RESOURCE_EXHAUSTED",
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      status: "RESOURCE_EXHAUSTED",
      decision: "deny",
      rule: "metadata-limit",
    });
  });

  /** The call's fields, filled up to so many bytes as RFC 9113 counts. */
  async function filledTo(wall: Secured, bytes: number): Promise<Record<string, string>> {
    const given = await wall.authorized();
    const used = headerListBytes({ ...fixedHeaders(wall, paths[kind]), ...given, "x-filler": "" });
    return { ...given, "x-filler": "x".repeat(bytes - used) };
  }

  it("L5 counts as RFC 9113 does: 8,192 bytes exactly pass, one more is refused", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    const messages = [Buffer.from('{"text":"hello"}')];
    const path = paths[kind];
    expect(await wire.call({ path, messages, headers: await filledTo(wall, 8192) }).ended).toMatchObject({
      code: status.OK,
    });
    expect(await wire.call({ path, messages, headers: await filledTo(wall, 8193) }).ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      message: "metadata too large",
    });
  });

  it("L5 many small fields count 32 bytes each", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    const many = Object.fromEntries(Array.from({ length: 230 }, (_, i) => [`a${i}`, "b"]));
    const refused = await wire.call({ path: paths[kind], headers: { ...(await wall.authorized()), ...many } })
      .ended;
    expect(refused).toMatchObject({ code: status.RESOURCE_EXHAUSTED, message: "metadata too large" });
  });

  it("L5 the number of fields alone is no reason to cut a call off", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    const many = Object.fromEntries(Array.from({ length: 190 }, (_, i) => [`a${i}`, "b"]));
    const passed = await wire.call({
      path: paths[kind],
      headers: { ...(await wall.authorized()), ...many },
      messages: [Buffer.from('{"text":"hello"}')],
    }).ended;
    expect(passed).toMatchObject({ code: status.OK });
  });

  it("L5 twenty KiB are cut off by HTTP/2, and the connection lives on", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    expect(wire.session.remoteSettings.maxHeaderListSize).toBe(16_384);
    const headers = await wall.authorized();
    const cut = await wire.call({
      path: paths[kind],
      headers: { ...headers, "x-filler": "x".repeat(20 * 1024) },
    }).ended;
    expect(cut.code).toBeUndefined();
    expect(cut.rstCode).not.toBe(0);
    expect(wall.started).toEqual([]);
    const messages = [Buffer.from('{"text":"hello"}')];
    expect(await wire.call({ path: paths[kind], headers, messages }).ended).toMatchObject({
      code: status.OK,
    });
  });

  it("L5 a caller that never acknowledges the settings gains nothing by it", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall, { outbound: neverAcknowledge });
    await using other = await openWire(wall);
    const filled = async (bytes: number): Promise<Record<string, string>> => ({
      ...(await wall.authorized()),
      "x-filler": "x".repeat(bytes),
    });
    const path = paths[kind];
    expect(await wire.call({ path, headers: await filled(9_000) }).ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
    await wall.callLine(() => true);
    for (const bytes of [16_384, 20_000, 60_000]) {
      const headers = await filled(bytes);
      const result = await wire.call({ path, headers }).ended;
      expect(result).toMatchObject({ code: undefined, rstCode: constants.NGHTTP2_ENHANCE_YOUR_CALM });
      // As it is for one that does.
      expect(await other.call({ path, headers }).ended).toEqual(result);
    }
    // None of them was read, or came as far as the chain.
    expect(wall.lines.filter((line) => line["grpc_code"] !== undefined)).toHaveLength(1);
    expect(wall.started).toEqual([]);
    const messages = [Buffer.from('{"text":"hello"}')];
    expect(await wire.call({ path, headers: await wall.authorized(), messages }).ended).toMatchObject({
      code: status.OK,
    });
  });
});

describe("L10 what callers choose is bounded", () => {
  it("L10 paths: hundreds of made-up methods are one name in the metrics, and short in the log", async () => {
    const meters = registerMeterProvider();
    await using wall = await secured();
    await using wire = await openWire(wall);
    await Promise.all(
      Array.from(
        { length: 300 },
        (_, i) => wire.call({ path: `/made.up.Service${i}/${"x".repeat(i)}` }).ended,
      ),
    );
    // The first ones of a peer have a line each, and an entry in the audit.
    await eventually(() => wall.lines.filter((line) => line["grpc_code"]).length >= 10, "the first lines");
    const { points } = await meters.read("grpc.server.call.started");
    expect(points).toEqual([{ attributes: { "grpc.method": "other" }, value: 300 }]);
    for (const line of wall.lines) expect(String(line["method"] ?? "").length).toBeLessThanOrEqual(256);
    await wall.auditEntry(() => wall.audit.length > 0);
    for (const entry of wall.audit) expect(entry.method.length).toBeLessThanOrEqual(256);
    await meters.shutdown();
  });

  it("L10 a request id is taken only where it is short and plain", async () => {
    const ids: string[] = [];
    const handlers = {
      unary(call: ServerUnaryCall<Note, Note>, callback: (error: null, value: Note) => void) {
        callback(null, call.request);
      },
    } as unknown as UntypedServiceImplementation;
    await using wall = await secured({ handlers });
    const client = wall.client();
    for (const id of ["order-17", "x".repeat(65), "a b", 'x"}', "-starts-wrong"]) {
      await invoke(client, "unary", { metadata: { ...(await wall.authorized()), "x-request-id": id } });
      ids.push(id);
      await eventually(() => wall.lines.filter((line) => line["grpc_code"]).length === ids.length, "a line");
    }
    const logged = wall.lines.filter((line) => line["grpc_code"]).map((line) => String(line["request_id"]));
    expect(logged[0]).toBe("order-17");
    for (const id of logged.slice(1)) expect(id).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("L10 what strangers cause is logged once in a while, not each time", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    await Promise.all(
      Array.from(
        { length: 100 },
        () => wire.call({ path: paths.unary, headers: { "content-type": "text/plain" } }).ended,
      ),
    );
    expect(wall.lines.filter(({ reason }) => reason === "content_type")).toHaveLength(1);
  });

  it("L10 a subject without end is cut in log and audit, and still its own key", async () => {
    await using wall = await secured({
      rateLimit: { perPrincipal: { points: 1, durationSec: 600 } },
      authorization: allowAuthenticated(),
    });
    const client = wall.client();
    const long = (end: string): string => `${"s".repeat(1000)}${end}`;
    const [one, two] = [await wall.authorized({ sub: long("1") }), await wall.authorized({ sub: long("2") })];
    expect(told(await invoke(client, "unary", { metadata: one }))).toBe("OK OK");
    expect(told(await invoke(client, "unary", { metadata: two }))).toBe("OK OK");
    expect(told(await invoke(client, "unary", { metadata: one }))).toContain("rate limit exceeded");
    const line = await wall.callLine(() => true);
    expect(String(line["principal"]).length).toBeLessThanOrEqual(256);
    const entry = await wall.auditEntry(() => true);
    expect(entry.caller?.subject.length).toBeLessThanOrEqual(256);
  });
});

describe("L1 callers without a name", () => {
  it.each(kinds)("L1 anonymous %s callers of public methods are counted by their peer", async (kind) => {
    await using wall = await secured({
      rateLimit: { perPrincipal: { points: 1, durationSec: 600 } },
      authorization: rbac({
        rules: Object.fromEntries(kinds.map((each) => [paths[each], "public" as const])),
      }),
    });
    const client = wall.client();
    expect(told(await invoke(client, kind))).toBe("OK OK");
    expect(told(await invoke(client, kind))).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    await withOtherCertificate(wall, async (other) => {
      expect(told(await invoke(other, kind))).toBe("OK OK");
    });
    expect(told(await invoke(client, kind, { metadata: await wall.authorized() }))).toBe("OK OK");
  });
});
