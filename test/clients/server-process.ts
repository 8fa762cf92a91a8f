// The servers that foreign clients call, in a process of their own: a test that is busy does not make them slow. The
// process ends with the one that started it.
import type { Buffer } from "node:buffer";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import {
  allowAuthenticated,
  anonymous,
  createSecureServer,
  jwt,
  mtls,
  rbac,
  type SecureServerOptions,
} from "../../src/index.ts";
import { createTokenIssuer, type SignOptions, type TokenIssuer } from "../../src/testing/token-issuer.ts";
import { definition, InteropService, type Seen, serviceName } from "./interop-service.ts";

/** `none`: TLS and no authentication; `jwt`: TLS and bearer tokens; `mtls`: client certificates. */
export const modes = ["none", "jwt", "mtls"] as const;
export type Mode = (typeof modes)[number];

/** Behind default options, or grpc-js without anything in front of it. */
export const kinds = ["palisade", "bare"] as const;
export type Kind = (typeof kinds)[number];

export interface ServerName {
  readonly kind: Kind;
  readonly mode: Mode;
}

/** What the process is told to start. */
export interface Start {
  readonly names: readonly ServerName[];
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer;
}

export type Question =
  | { readonly ask: "seen"; readonly of: ServerName }
  | { readonly ask: "forget"; readonly of: ServerName }
  | {
      readonly ask: "token";
      readonly claims: Readonly<Record<string, unknown>>;
      readonly options: SignOptions;
    };

/** To this process: what to start, once, and then questions by number. */
export type Order = { readonly start: Start } | { readonly id: number; readonly question: Question };

/** From this process: the ports in the order of `names`, then an answer for each question. */
export type Report =
  | { readonly ports: readonly number[] }
  | { readonly id: number; readonly answer: Seen | string | undefined }
  | { readonly failure: string };

interface Running {
  readonly name: ServerName;
  readonly port: number;
  readonly service: InteropService;
}

let running: readonly Running[] = [];
let issuer: TokenIssuer | undefined;

process.on("disconnect", () => process.exit());
process.on("message", (order: Order) => {
  carryOut(order).catch((error: unknown) => {
    report({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  });
});

function report(message: Report): void {
  process.send?.(message);
}

async function carryOut(order: Order): Promise<void> {
  if ("start" in order) {
    const { start } = order;
    issuer = await createTokenIssuer({ algorithms: ["ES256"] });
    const tokens = issuer;
    running = await Promise.all(start.names.map((name) => startServer(name, start, tokens)));
    report({ ports: running.map(({ port }) => port) });
  } else {
    report({ id: order.id, answer: await answer(order.question) });
  }
}

async function answer(question: Question): Promise<Seen | string | undefined> {
  if (question.ask === "token") return issuer?.sign(question.claims, question.options);
  const { kind, mode } = question.of;
  const service = running.find(({ name }) => name.kind === kind && name.mode === mode)?.service;
  if (question.ask === "forget") service?.forget();
  return service?.seen;
}

async function startServer(name: ServerName, start: Start, tokens: TokenIssuer): Promise<Running> {
  const service = new InteropService();
  const port =
    name.kind === "palisade"
      ? await startPalisade(secured(name.mode, start, tokens), service)
      : await startBare(name.mode, start, service);
  return { name, port, service };
}

/** Nothing but what must be given: all else is as it is by default. */
function secured(mode: Mode, { cert, key, clientCa }: Start, tokens: TokenIssuer): SecureServerOptions {
  const methods = Object.values(definition).map(({ path }) => path);
  switch (mode) {
    case "none":
      return {
        tls: { cert, key },
        authentication: anonymous(),
        authorization: rbac({ rules: Object.fromEntries(methods.map((path) => [path, "public"])) }),
      };
    case "jwt":
      return {
        tls: { cert, key },
        authentication: jwt(tokens),
        authorization: rbac({ rules: { [`/${serviceName}/*`]: "authenticated" } }),
      };
    case "mtls":
      return { tls: { cert, key, clientCa }, authentication: mtls(), authorization: allowAuthenticated() };
  }
}

async function startPalisade(options: SecureServerOptions, service: InteropService): Promise<number> {
  const server = createSecureServer(options);
  server.addService(definition, service.handlers);
  const { port } = await server.listen("127.0.0.1:0");
  return port;
}

function startBare(mode: Mode, { cert, key, clientCa }: Start, service: InteropService): Promise<number> {
  const server = new Server();
  server.addService(definition, service.handlers);
  const pair = { cert_chain: cert, private_key: key };
  const credentials =
    mode === "mtls"
      ? ServerCredentials.createSsl(clientCa, [pair], true)
      : ServerCredentials.createSsl(null, [pair]);
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, port) => {
      if (error === null) resolve(port);
      else reject(error);
    });
  });
}
