// A caller that speaks HTTP/2 by itself: what no gRPC client sends, a test can send with this. Frames can be changed or
// dropped on their way in both directions.
import { Buffer } from "node:buffer";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type Settings,
} from "node:http2";
import { Duplex } from "node:stream";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import type { Secured } from "./secured.ts";

/** An HTTP/2 frame (RFC 9113 section 4.1). */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export const frameTypes = { data: 0, headers: 1, settings: 4 } as const;
export const ackFlag = 1;
/** RFC 9113 section 6.5.2. */
const maxConcurrentStreamsSetting = 3;

/** What happens to a frame on its way: another one goes in its place, or none. */
export type FrameFilter = (frame: Frame) => Frame | undefined;

export interface WireOptions {
  /** Frames of the caller, before the server sees them. */
  readonly outbound?: FrameFilter;
  /** Frames of the server, before the caller sees them. */
  readonly inbound?: FrameFilter;
  /** What the caller tells the server of itself. */
  readonly settings?: Settings;
}

export interface WireResult {
  readonly headers: IncomingHttpHeaders | undefined;
  readonly trailers: IncomingHttpHeaders | undefined;
  /** `grpc-status`, from wherever it came. */
  readonly code: number | undefined;
  readonly message: string | undefined;
  /** Why the stream was closed; 0 for no error. */
  readonly rstCode: number;
  readonly bytes: number;
}

export interface WireCall {
  readonly stream: ClientHttp2Stream;
  readonly ended: Promise<WireResult>;
}

export interface WireRequest {
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  /** Messages, which are framed here. Default: none. */
  readonly messages?: readonly Buffer[];
  /** Say of the messages that they are compressed, whatever they are. */
  readonly compressed?: boolean;
  /** Leave the request open. */
  readonly keepOpen?: boolean;
}

export interface Wire extends AsyncDisposable {
  readonly session: ClientHttp2Session;
  /** Settles when the connection is gone. */
  readonly closed: Promise<void>;
  call(request: WireRequest): WireCall;
  /** Reads nothing more of the connection, until `resume`: what the server writes fills its socket. */
  pause(): void;
  resume(): void;
}

/** The pseudo-header fields and `te`, `content-type`: what each call carries. */
export function fixedHeaders(wall: Pick<Secured, "address">, path: string): Record<string, string> {
  return {
    ":method": "POST",
    ":path": path,
    ":scheme": "https",
    ":authority": wall.address,
    "content-type": "application/grpc",
    te: "trailers",
  };
}

/** Size of a list of fields as RFC 9113 section 10.5.1 counts it. */
export function headerListBytes(headers: Readonly<Record<string, string>>): number {
  return Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
}

/** A message with its five bytes in front. */
function framed(message: Buffer, compressed: boolean | undefined): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(compressed === true ? 1 : 0, 0);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Connects over mTLS and waits until both sides know each other's settings. */
export async function openWire(
  wall: Pick<Secured, "port" | "address" | "world">,
  options: WireOptions = {},
): Promise<Wire> {
  const socket = await tlsSocket(wall);
  const session = connect(`https://localhost:${wall.port}`, {
    createConnection: () => filtered(socket, options),
    ...(options.settings === undefined ? {} : { settings: options.settings }),
  });
  session.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    session.once("remoteSettings", () => resolve());
    socket.once("close", () => reject(new Error("the server closed the connection at once")));
  });
  return {
    session,
    closed,
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    call(request) {
      const stream = session.request(
        { ...fixedHeaders(wall, request.path), ...request.headers },
        { endStream: false },
      );
      const ended = outcomeOf(stream);
      for (const message of request.messages ?? []) stream.write(framed(message, request.compressed));
      if (request.keepOpen !== true) stream.end();
      return { stream, ended };
    },
    async [Symbol.asyncDispose]() {
      session.destroy();
      socket.destroy();
      await closed;
    },
  };
}

/** Over mTLS, with the good client certificate. */
export function tlsSocket(wall: Pick<Secured, "port" | "world">): Promise<TLSSocket> {
  const { ca, client } = wall.world;
  return new Promise((resolve, reject) => {
    const socket = tlsConnect(
      {
        host: "127.0.0.1",
        port: wall.port,
        servername: "localhost",
        ALPNProtocols: ["h2"],
        ca: ca.caPem,
        cert: client.cert,
        key: client.key,
      },
      () => resolve(socket),
    );
    socket.once("error", reject);
  });
}

function outcomeOf(stream: ClientHttp2Stream): Promise<WireResult> {
  let headers: IncomingHttpHeaders | undefined;
  let trailers: IncomingHttpHeaders | undefined;
  let bytes = 0;
  stream.on("response", (received) => {
    headers = received;
  });
  stream.on("trailers", (received) => {
    trailers = received;
  });
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  stream.on("error", () => {});
  return new Promise((resolve) => {
    stream.on("close", () => {
      const code = trailers?.["grpc-status"] ?? headers?.["grpc-status"];
      const message = trailers?.["grpc-message"] ?? headers?.["grpc-message"];
      resolve({
        headers,
        trailers,
        code: code === undefined ? undefined : Number(code),
        message: message === undefined ? undefined : decodeURIComponent(String(message)),
        rstCode: stream.rstCode,
        bytes,
      });
    });
  });
}

const prefaceLength = 24;

function filtered(socket: TLSSocket, { outbound, inbound }: WireOptions): Duplex {
  const out = new FrameReader(prefaceLength, outbound);
  const incoming = new FrameReader(0, inbound);
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      socket.write(out.pass(chunk), () => done());
    },
    final(done) {
      socket.end(() => done());
    },
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk: Buffer) => duplex.push(incoming.pass(chunk)));
  socket.on("end", () => duplex.push(null));
  socket.on("close", () => duplex.destroy());
  socket.on("error", () => duplex.destroy());
  return duplex;
}

class FrameReader {
  #pending: Buffer = Buffer.alloc(0);
  #verbatim: number;
  readonly #filter: FrameFilter | undefined;

  constructor(verbatim: number, filter: FrameFilter | undefined) {
    this.#verbatim = verbatim;
    this.#filter = filter;
  }

  pass(chunk: Buffer): Buffer {
    if (this.#filter === undefined) return chunk;
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const passed = [this.#take(Math.min(this.#verbatim, this.#pending.length))];
    this.#verbatim -= passed[0]?.length ?? 0;
    while (this.#verbatim === 0 && this.#pending.length >= 9) {
      const length = this.#pending.readUIntBE(0, 3);
      if (this.#pending.length < 9 + length) break;
      const bytes = this.#take(9 + length);
      const frame = this.#filter({
        type: bytes.readUInt8(3),
        flags: bytes.readUInt8(4),
        streamId: bytes.readUInt32BE(5),
        payload: bytes.subarray(9),
      });
      if (frame !== undefined) passed.push(encodeFrame(frame));
    }
    return Buffer.concat(passed);
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return taken;
  }
}

function encodeFrame({ type, flags, streamId, payload }: Frame): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** Puts these fields in the place of whatever the caller's HEADERS frames say: duplicates, and what Node would refuse. */
export function forgeHeaders(fields: readonly (readonly [name: string, value: string])[]): FrameFilter {
  const payload = Buffer.concat(fields.map(([name, value]) => literalField(name, value)));
  return (frame) =>
    frame.type === frameTypes.headers
      ? { ...frame, flags: (frame.flags & 1) | 4, payload } // END_STREAM as it was, END_HEADERS, no padding, no priority
      : frame;
}

/** HPACK, literal header field without indexing, new name, no Huffman coding (RFC 7541 section 6.2.2). */
function literalField(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), hpackString(name), hpackString(value)]);
}

function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  const length: number[] = [];
  let rest = bytes.length;
  if (rest < 127) {
    length.push(rest);
  } else {
    length.push(127);
    for (rest -= 127; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** The caller never acknowledges the server's settings. */
export const neverAcknowledge: FrameFilter = (frame) =>
  frame.type === frameTypes.settings && (frame.flags & ackFlag) !== 0 ? undefined : frame;

/** The caller does not hear how many streams it may open. */
export const deafToStreamLimit: FrameFilter = (frame) => {
  if (frame.type !== frameTypes.settings) return frame;
  const kept: Buffer[] = [];
  for (let at = 0; at + 6 <= frame.payload.length; at += 6) {
    if (frame.payload.readUInt16BE(at) !== maxConcurrentStreamsSetting)
      kept.push(frame.payload.subarray(at, at + 6));
  }
  return { ...frame, payload: Buffer.concat(kept) };
};
