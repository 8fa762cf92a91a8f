// Generators and streams with a slow other end (C4): what waits in memory is bounded, and a cancellation ends the handler.
import { Buffer } from "node:buffer";
import { type ClientHttp2Stream, connect, constants } from "node:http2";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import { invoke, type Note, paths } from "../harness/kinds.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, secured } from "../harness/secured.ts";

const million = 1_000_000;
const text = "x".repeat(1000);
/** HTTP/2's window, the sockets' buffers and both streams' high water marks, in messages of 1,000 bytes, with room. */
const bound = 2_000;

/** What a caller may send of a request before the server has read some: RFC 9113 section 6.9.2. Node reads a little. */
const window = 65_535;
/** Where a caller ends that nobody holds back. */
const far = 4_000_000;
const message = grpcFrame(JSON.stringify({ text }));

interface Produced {
  yields: number;
  finallys: number;
  aborted: number;
}

function producing(
  produced: Produced,
  wait?: (signal: AbortSignal) => Promise<void>,
): UntypedServiceImplementation {
  async function* produce(call: object): AsyncGenerator<Note> {
    const { signal } = securityContext(call);
    signal.addEventListener("abort", () => {
      produced.aborted += 1;
    });
    try {
      while (produced.yields < million) {
        produced.yields += 1;
        yield { text };
        await wait?.(signal);
      }
    } finally {
      produced.finallys += 1;
    }
  }
  return { serverStream: produce, bidiStream: produce } as unknown as UntypedServiceImplementation;
}

type Kind = "server_stream" | "bidi_stream";
const responseKinds: readonly Kind[] = ["server_stream", "bidi_stream"];

/** A call whose caller reads nothing until told to. grpc-js's own client reads on when nobody asks it to. */
async function unread(wall: Secured, kind: Kind): Promise<ClientHttp2Stream> {
  const { client, ca } = wall.world;
  const session = connect(`https://${wall.address}`, {
    ca: ca.caPem,
    cert: client.cert,
    key: client.key,
  });
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": paths[kind],
    "content-type": "application/grpc",
    te: "trailers",
    ...(await wall.authorized()),
  });
  stream.on("error", () => {});
  stream.on("close", () => session.destroy());
  const message = Buffer.from(JSON.stringify({ text: "" }));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([prefix, message]));
  return stream;
}

/** So that a fast machine meets no limit while it waits. */
const rateLimit = { perPeer: false, perPrincipal: false } as const;

/** Waits until a number stands still while the same server, with that `rateLimit`, answers other calls. */
async function standstill(wall: Secured, count: () => number): Promise<number> {
  const client = wall.client();
  const metadata = await wall.authorized();
  for (let last = -1; ; ) {
    for (let i = 0; i < 50; i++) expect((await invoke(client, "unary", { metadata })).name).toBe("OK");
    const now = count();
    if (now > 0 && now === last) return now;
    last = now;
  }
}

describe("a generator whose caller stops reading", () => {
  it.each(responseKinds)(
    "C4 %s: holds a bounded number of messages, and goes on when the caller does",
    async (kind) => {
      const produced: Produced = { yields: 0, finallys: 0, aborted: 0 };
      await using wall = await secured({ handlers: producing(produced), rateLimit });
      const call = await unread(wall, kind);
      const stood = await standstill(wall, () => produced.yields);
      expect(stood).toBeLessThan(bound);
      call.resume();
      await eventually(() => produced.yields > stood + bound, "more messages");
      call.close(constants.NGHTTP2_CANCEL);
      await eventually(() => produced.finallys === 1, "the generator's finally");
      expect(produced.aborted).toBe(1);
    },
  );

  it.each(responseKinds)(
    "C4 %s: a cancellation while nothing is read aborts the signal and returns it",
    async (kind) => {
      const produced: Produced = { yields: 0, finallys: 0, aborted: 0 };
      await using wall = await secured({ handlers: producing(produced), rateLimit });
      const call = await unread(wall, kind);
      await standstill(wall, () => produced.yields);
      call.close(constants.NGHTTP2_CANCEL);
      await eventually(() => produced.finallys === 1, "the generator's finally");
      expect(produced).toMatchObject({ finallys: 1, aborted: 1 });
      expect(produced.yields).toBeLessThan(bound);
    },
  );

  it.each(responseKinds)("C4 %s: a cancellation while it waits for something of its own", async (kind) => {
    const produced: Produced = { yields: 0, finallys: 0, aborted: 0 };
    // It hears of the end by the signal alone.
    const wait = (signal: AbortSignal): Promise<void> =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    await using wall = await secured({ handlers: producing(produced, wait) });
    const call = await unread(wall, kind);
    call.resume();
    await eventually(() => produced.yields === 1, "the first message");
    call.close(constants.NGHTTP2_CANCEL);
    await eventually(() => produced.finallys === 1, "the generator's finally");
    expect(produced).toEqual({ yields: 1, finallys: 1, aborted: 1 });
  });
});

describe("a caller whose handler stops reading", () => {
  it.each(["client_stream", "bidi_stream"] as const)(
    "C4 %s: is held back, and what waits is bounded; a cancellation ends the loop",
    async (kind) => {
      let arrived = 0;
      let read = 0;
      let ended = 0;
      async function readOne(call: AsyncIterable<Note>): Promise<void> {
        const { signal } = securityContext(call);
        try {
          for await (const _note of call) {
            read += 1;
            await new Promise((_resolve, reject) =>
              signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
            );
          }
        } finally {
          ended += 1;
        }
      }
      await using wall = await secured({
        rateLimit,
        middleware: [
          {
            name: "arrivals",
            appliesTo: (method) => method.kind === kind,
            onRequest() {
              arrived += 1;
            },
          },
        ],
        handlers: {
          clientStream: readOne,
          async *bidiStream(call: AsyncIterable<Note>) {
            await readOne(call);
            yield { text: "never" };
          },
        } as unknown as UntypedServiceImplementation,
      });
      await using raw = await RawConnection.open(wall);
      const { stream } = raw.call(paths[kind], {
        headers: await wall.authorized(),
        body: Buffer.alloc(0),
        keepOpen: true,
      });
      let taken = 0;
      const send = (): void => {
        if (taken < far && !stream.destroyed) stream.write(message, written);
      };
      // Once it is within the windows that the server gave, and on its way.
      const written = (error?: Error | null): void => {
        if (error instanceof Error) return;
        taken += message.length;
        send();
      };
      send();
      expect(await standstill(wall, () => taken)).toBeLessThan(4 * window);
      expect(read).toBe(1);
      expect(arrived).toBeLessThan(200);
      stream.close(constants.NGHTTP2_CANCEL);
      await eventually(() => ended === 1, "the handler's finally");
    },
  );
});
