// The servers that Connect's conformance suite calls, in a process of their own. The suite starts a program for each, which
// hands on what it is told over a socket; the server is there until that connection ends.
// `conformance-server.ts <palisade|bare> <directory of the suite's protos> <socket>`
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { encodeStatusDetails } from "../../src/grpc/error-details.ts";
import {
  type Authenticator,
  allowAuthenticated,
  createSecureServer,
  type Principal,
  type SecureServerOptions,
  StatusError,
} from "../../src/index.ts";
import {
  conformanceHandlers,
  type Failure,
  loadProtos,
  type ServerRequest,
  type ServerResponse,
} from "./conformance-service.ts";

interface Serving {
  readonly port: number;
  close(): void;
}

const [kind, protoDirectory, socket] = process.argv.slice(2);
if ((kind !== "palisade" && kind !== "bare") || protoDirectory === undefined || socket === undefined)
  throw new Error("usage: conformance-server.ts <palisade|bare> <directory of the suite's protos> <socket>");

const host = "127.0.0.1";
const protos = loadProtos(protoDirectory);

process.on("disconnect", () => process.exit());
const suites = createServer((suite) => {
  serve(suite).catch((error: unknown) => {
    console.error(error);
    suite.destroy();
  });
}).listen(socket);
await once(suites, "listening");
process.send?.("listening");

async function serve(suite: Socket): Promise<void> {
  // A program that was killed leaves it reset.
  suite.on("error", () => {});
  const closed = new Promise<void>((resolve) => suite.once("close", () => resolve()));
  const request = protos.serverRequest.deserialize(await readMessage(suite)) as ServerRequest;
  const { port, close } = await (kind === "palisade" ? serveSecured(request) : serveBare(request));
  const response = { host, port, pem_cert: request.use_tls ? credentials(request).cert : Buffer.alloc(0) };
  writeMessage(suite, protos.serverResponse.serialize(response satisfies ServerResponse));
  await closed;
  close();
}

/** The suite shows no credentials, and wants to be told which methods there are not: anonymous callers are not. */
const everybody: Authenticator = {
  name: "everybody",
  source: "connection",
  presents: () => true,
  authenticate: () => ({ principal: caller }),
};

const caller: Principal = {
  subject: "conformance suite",
  kind: "service",
  scheme: "everybody",
  roles: new Set(),
  permissions: new Set(),
  claims: {},
};

async function serveSecured(request: ServerRequest): Promise<Serving> {
  const maxReceiveMessageBytes = request.message_receive_limit;
  const server = createSecureServer({
    tls: request.use_tls ? tls(request) : { plaintext: "loopback" },
    authentication: everybody,
    authorization: allowAuthenticated(),
    ...(maxReceiveMessageBytes === 0 ? {} : { limits: { maxReceiveMessageBytes } }),
  });
  server.addService(protos.definition, conformanceHandlers({ protos, failed: statusError }));
  const { port } = await server.listen(`${host}:0`);
  return { port, close: () => void server.shutdown({ graceMs: 0 }) };
}

function tls(request: ServerRequest): SecureServerOptions["tls"] {
  const { client_tls_cert: clientCa } = request;
  return clientCa.length === 0 ? credentials(request) : { ...credentials(request), clientCa };
}

function statusError({ code, message, details, trailers }: Failure): StatusError {
  return new StatusError(code, message, {
    errorDetails: details.map(({ type_url, value }) => ({ typeUrl: type_url, value })),
    metadata: trailers,
  });
}

function serveBare(request: ServerRequest): Promise<Serving> {
  const limit = request.message_receive_limit;
  const server = new Server(limit === 0 ? {} : { "grpc.max_receive_message_length": limit });
  server.addService(protos.definition, conformanceHandlers({ protos, failed: statusObject }));
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:0`, bareCredentials(request), (error, port) => {
      if (error === null) resolve({ port, close: () => server.forceShutdown() });
      else reject(error);
    });
  });
}

function bareCredentials(request: ServerRequest): ServerCredentials {
  if (!request.use_tls) return ServerCredentials.createInsecure();
  const { cert, key } = credentials(request);
  const pair = { cert_chain: cert, private_key: key };
  return request.client_tls_cert.length === 0
    ? ServerCredentials.createSsl(null, [pair])
    : ServerCredentials.createSsl(request.client_tls_cert, [pair], true);
}

function statusObject({ code, message, details, trailers }: Failure): Error {
  const encoded = details.map(({ type_url, value }) => ({ typeUrl: type_url, value }));
  if (encoded.length > 0)
    trailers.set("grpc-status-details-bin", encodeStatusDetails(code, message, encoded));
  return Object.assign(new Error(message), { code, details: message, metadata: trailers });
}

function credentials({ server_creds }: ServerRequest): { readonly cert: Buffer; readonly key: Buffer } {
  if (server_creds === null) throw new Error("the suite gave no certificate");
  return server_creds;
}

/** Each message is led by its length, in four bytes, the highest first. */
function readMessage(suite: Socket): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    suite.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length >= 4 && bytes.length - 4 >= bytes.readUInt32BE(0))
        resolve(bytes.subarray(4, 4 + bytes.readUInt32BE(0)));
    });
    suite.once("close", () => reject(new Error("the suite left without saying what to serve")));
  });
}

function writeMessage(suite: Socket, message: Buffer): void {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  suite.write(Buffer.concat([length, message]));
}
