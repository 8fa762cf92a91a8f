// Real TLS and gRPC endpoints for the tests of src/tls.
import type { AddressInfo } from "node:net";
import { type ConnectionOptions, connect, createServer, type TLSSocket } from "node:tls";
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  Server,
  type ServerCredentials,
  type ServiceError,
} from "@grpc/grpc-js";
import type { PeerCertificate } from "../../src/grpc/peer.ts";
import {
  type ClientCertificateVerdict,
  clientCertificateVerdict,
  peerCertificateOf,
} from "../../src/tls/peer-certificate.ts";
import type { TlsServerCredentials } from "../../src/tls/server-credentials.ts";
import { inTime } from "../harness/time.ts";

/** What the server saw of a connection when its handshake was done. */
export interface Seen {
  readonly verdict: ClientCertificateVerdict;
  readonly certificate: PeerCertificate | undefined;
  readonly authorized: boolean;
  readonly resumed: boolean;
  readonly readable: boolean;
}

export interface TlsEndpoint extends AsyncDisposable {
  readonly port: number;
  /** The connections that got through the handshake and Node's own verification, in order. */
  readonly seen: readonly Seen[];
}

/**
 * A TLS server made from what the credentials give grpc-js. It greets with one byte. `resumes`: it resumes sessions although the
 * credentials say that it must not.
 */
export async function tlsServer(
  credentials: TlsServerCredentials,
  { resumes = false }: { readonly resumes?: boolean } = {},
): Promise<TlsEndpoint> {
  const given = { ...credentials._getConstructorOptions(), ...credentials._getSecureContextOptions() };
  const options = resumes ? { ...given, secureOptions: 0 } : given;
  const seen: Seen[] = [];
  const sockets = new Set<TLSSocket>();
  const server = createServer(options, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    seen.push({
      verdict: clientCertificateVerdict(socket),
      certificate: peerCertificateOf(socket),
      authorized: socket.authorized,
      resumed: socket.isSessionReused(),
      readable: socket.getPeerX509Certificate() !== undefined,
    });
    socket.write("!");
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export interface Connected {
  readonly protocol: string | null;
  readonly cipher: string;
  /** To resume with. TLS 1.3 sends it after the handshake. */
  readonly session: Buffer;
}

/**
 * Connects, waits for the greeting (only then has a TLS 1.3 server accepted the client) and, on a new connection, for
 * the session to resume it with, then closes.
 */
export function tlsConnect(port: number, options: ConnectionOptions): Promise<Connected> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", servername: "localhost", ...options });
    let greeted = false;
    let session = options.session;
    const finish = (): void => {
      if (!greeted || session === undefined) return;
      resolve({ protocol: socket.getProtocol(), cipher: socket.getCipher().standardName, session });
      socket.end();
    };
    socket.on("session", (given) => {
      session ??= given;
      finish();
    });
    socket.on("data", () => {
      greeted = true;
      finish();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed by the server")));
  });
}

const echo = "/test.Echo/Echo";
const raw = (bytes: Buffer): Buffer => bytes;

export interface GrpcEndpoint extends AsyncDisposable {
  readonly port: number;
}

/** A bare grpc-js server with one unary method. */
export async function grpcServer(credentials: ServerCredentials): Promise<GrpcEndpoint> {
  const server = new Server();
  server.addService(
    {
      Echo: {
        path: echo,
        requestStream: false,
        responseStream: false,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      },
    },
    {
      Echo: (call: { request: Buffer }, callback: (error: null, value: Buffer) => void) =>
        callback(null, call.request),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

/** One unary call; the error's text where it fails. */
export function callEcho(
  target: string,
  credentials: ChannelCredentials,
  options: ChannelOptions = {},
): Promise<string> {
  const client = new Client(target, credentials, options);
  return new Promise<string>((resolve) => {
    client.makeUnaryRequest(
      echo,
      raw,
      raw,
      Buffer.from("hello"),
      { deadline: inTime() },
      (error: ServiceError | null, value?: Buffer) => resolve(error === null ? String(value) : error.message),
    );
  }).finally(() => client.close());
}
