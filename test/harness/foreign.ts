// A grpc.Server that somebody else made, over real mTLS, with interceptors of ours on it (C6).
import { Buffer } from "node:buffer";
import {
  Client,
  credentials,
  Server,
  type ServerInterceptor,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { MethodKind } from "../../src/grpc/method.ts";
import { serverCredentials } from "../../src/tls/server-credentials.ts";
import { goodHandlers, kindsDefinition } from "./kinds.ts";
import { theWorld, type World } from "./secured.ts";

export interface Foreign extends AsyncDisposable {
  readonly world: World;
  readonly server: Server;
  readonly port: number;
  readonly started: MethodKind[];
  /** Shows a certificate unless told not to. */
  client(options?: { readonly certificate: boolean }): Client;
  authorized(claims?: Readonly<Record<string, unknown>>): Promise<{ authorization: string }>;
}

export interface ForeignOptions {
  readonly handlers?: UntypedServiceImplementation;
  readonly register?: (server: Server) => void;
}

export async function foreign(
  interceptors: ServerInterceptor[],
  options: ForeignOptions = {},
): Promise<Foreign> {
  const world = await theWorld();
  const started: MethodKind[] = [];
  const server = new Server({ interceptors });
  server.addService(kindsDefinition, { ...goodHandlers(started), ...options.handlers });
  options.register?.(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(
      "127.0.0.1:0",
      serverCredentials({
        cert: Buffer.from(world.server.cert),
        key: Buffer.from(world.server.key),
        clientCa: Buffer.from(world.ca.caPem),
        clientAuth: "request",
      }),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    );
  });
  const clients: Client[] = [];
  return {
    world,
    server,
    port,
    started,
    client({ certificate } = { certificate: true }) {
      const ca = Buffer.from(world.ca.caPem);
      const client = new Client(
        `localhost:${port}`,
        certificate
          ? credentials.createSsl(ca, Buffer.from(world.client.key), Buffer.from(world.client.cert))
          : credentials.createSsl(ca),
        { "grpc.use_local_subchannel_pool": 1 },
      );
      clients.push(client);
      return client;
    },
    authorized: async (claims) => ({ authorization: `Bearer ${await world.token(claims)}` }),
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.close();
      server.forceShutdown();
    },
  };
}
