// A caller that speaks HTTP/2 by hand: what a gRPC client library would never send, and streams it would never leave open.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type Settings,
} from "node:http2";
import { type Socket, connect as tcpConnect } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { status } from "@grpc/grpc-js";
import type { Secured } from "./secured.ts";

export interface RawAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  /** The gRPC status by name; undefined where none came. */
  readonly name: string | undefined;
  readonly details: string | undefined;
  readonly body: Buffer;
  readonly rstCode: number;
}

export interface RawCall {
  readonly stream: ClientHttp2Stream;
  /** Once the stream is closed on both sides. */
  readonly answer: Promise<RawAnswer>;
}

export interface RawCallOptions {
  readonly headers?: OutgoingHttpHeaders;
  /** Sent as it is: `grpcFrame` makes messages. Default: one message. */
  readonly body?: Buffer;
  /** Leave the request's side open. */
  readonly keepOpen?: boolean;
  /** Read nothing of what comes back. */
  readonly deaf?: boolean;
}

/** One length-prefixed message (gRPC over HTTP/2). */
export function grpcFrame(message: string | Buffer, flags = 0): Buffer {
  const bytes = Buffer.from(message);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flags, 0);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

export const helloFrame: Buffer = grpcFrame(JSON.stringify({ text: "hello" }));

export class RawConnection implements AsyncDisposable {
  readonly session: ClientHttp2Session;
  readonly #socket: Socket;

  private constructor(session: ClientHttp2Session, socket: Socket) {
    this.session = session;
    this.#socket = socket;
  }

  /** With the good client certificate. */
  static async open(
    wall: Pick<Secured, "port" | "address" | "world">,
    settings: Settings = {},
  ): Promise<RawConnection> {
    const socket = tlsConnect({
      host: "127.0.0.1",
      port: wall.port,
      servername: "localhost",
      ALPNProtocols: ["h2"],
      ca: wall.world.ca.caPem,
      cert: wall.world.client.cert,
      key: wall.world.client.key,
    });
    const session = connect(`https://${wall.address}`, { createConnection: () => socket, settings });
    session.on("error", () => {});
    await once(session, "connect");
    return new RawConnection(session, socket);
  }

  /** To a server without TLS. */
  static async openPlain(wall: Pick<Secured, "port">, settings: Settings = {}): Promise<RawConnection> {
    const socket = tcpConnect({ host: "127.0.0.1", port: wall.port });
    const session = connect(`http://127.0.0.1:${wall.port}`, { createConnection: () => socket, settings });
    session.on("error", () => {});
    await once(session, "connect");
    return new RawConnection(session, socket);
  }

  /** The connection is lost: nothing says goodbye. */
  cut(): void {
    this.#socket.destroy();
  }

  call(path: string, options: RawCallOptions = {}): RawCall {
    const stream = this.session.request(
      {
        [constants.HTTP2_HEADER_METHOD]: "POST",
        [constants.HTTP2_HEADER_PATH]: path,
        [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
        te: "trailers",
        ...options.headers,
      },
      { endStream: false },
    );
    const answer = read(stream, options.deaf === true);
    const body = options.body ?? helloFrame;
    if (body.length > 0) stream.write(body);
    if (options.keepOpen !== true) stream.end();
    return { stream, answer };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.session.destroyed) return;
    const closed = once(this.session, "close");
    this.session.destroy();
    await closed;
  }
}

function read(stream: ClientHttp2Stream, deaf: boolean): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    const body: Buffer[] = [];
    stream.on("response", (received) => {
      headers = received;
    });
    stream.on("trailers", (received) => {
      trailers = received;
    });
    if (!deaf) stream.on("data", (chunk: Buffer) => body.push(chunk));
    stream.on("error", () => {});
    stream.on("close", () => {
      const code = trailers["grpc-status"] ?? headers["grpc-status"];
      const details = trailers["grpc-message"] ?? headers["grpc-message"];
      resolve({
        headers,
        trailers,
        name: code === undefined ? undefined : (status[Number(code)] ?? String(code)),
        details: typeof details === "string" ? decodeURIComponent(details) : undefined,
        body: Buffer.concat(body),
        rstCode: stream.rstCode ?? 0,
      });
    });
  });
}
