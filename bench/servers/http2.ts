// The floor: Node's HTTP/2 server that speaks just enough gRPC to answer this contract. No deadlines, no compression, no
// checks; a request's payload is sent back in the bytes it came in.
import { Buffer } from "node:buffer";
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { paths } from "./contract.ts";
import { serve } from "./serve.ts";

serve(async ({ identities }) => {
  const { cert, key } = identities.server;
  const server = createSecureServer({
    cert,
    key,
    ca: identities.ca,
    requestCert: true,
    rejectUnauthorized: true,
    settings: { maxConcurrentStreams: 100_000 },
  });
  server.on("stream", (stream, headers) => {
    // A caller that went away is nobody's failure.
    stream.on("error", () => {});
    answerTo(headers[":path"])?.(stream);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return { port: (server.address() as AddressInfo).port };
});

function answerTo(path: string | undefined): ((stream: ServerHttp2Stream) => void) | undefined {
  if (path === paths.unary) return unary;
  if (path === paths.serverStream) return serverStream;
  return path === paths.bidiStream ? bidiStream : undefined;
}

function respond(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
}

function whole(stream: ServerHttp2Stream, done: (message: Buffer) => void): void {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("end", () => {
    const [first] = chunks;
    done(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks));
  });
}

function unary(stream: ServerHttp2Stream): void {
  whole(stream, (message) => {
    respond(stream);
    stream.end(message);
  });
}

function serverStream(stream: ServerHttp2Stream): void {
  whole(stream, (message) => {
    const { frame, messages } = parted(message);
    respond(stream);
    let left = messages;
    const write = (): void => {
      while (left > 0) {
        left -= 1;
        if (!stream.write(frame)) return void stream.once("drain", write);
      }
      stream.end();
    };
    write();
  });
}

/** Request and response messages are the same bytes here, so their frames are too. */
function bidiStream(stream: ServerHttp2Stream): void {
  respond(stream);
  stream.pipe(stream);
}

/** Field 1, the payload, is sent back; field 2 says how often. The client writes them in this order. */
function parted(message: Buffer): { readonly frame: Buffer; readonly messages: number } {
  let at = 6;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at] ?? 0;
      at += 1;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const payloadEnd = varint() + at;
  const frame = Buffer.from(message.subarray(0, payloadEnd));
  frame.writeUInt32BE(payloadEnd - 5, 1);
  at = payloadEnd + 1;
  return { frame, messages: varint() };
}
