// An OPA server on a local port, or a Unix socket, that answers as a test tells it.
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { text } from "node:stream/consumers";

/** One query: what was asked, and how. */
export interface Query {
  readonly path: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly headers: IncomingMessage["headers"];
  /** Of the connection that it came by. */
  readonly port: number | undefined;
}

export type Answer = (response: ServerResponse, query: Query) => void;

export interface FakeOpa extends AsyncDisposable {
  readonly url: string;
  readonly queries: Query[];
  answer: Answer;
}

export interface FakeOpaOptions {
  /** The path of a Unix socket. Default: a port of 127.0.0.1. */
  readonly socket?: string;
  /** Default: no encryption. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export async function startOpa(answer: Answer, { socket, tls }: FakeOpaOptions = {}): Promise<FakeOpa> {
  const queries: Query[] = [];
  const listener: RequestListener = (request, response) => {
    text(request).then(
      (body) => {
        const { input } = JSON.parse(body) as Pick<Query, "input">;
        const { url: path = "", headers } = request;
        const query = { path, input, headers, port: request.socket.remotePort };
        queries.push(query);
        started.answer(response, query);
      },
      () => {},
    );
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  // Whoever waits for the next request is not disturbed by the clock.
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve) =>
    socket === undefined ? server.listen(0, "127.0.0.1", resolve) : server.listen(socket, resolve),
  );
  const address = server.address();
  const started: FakeOpa = {
    url:
      typeof address === "object" && address !== null
        ? `${tls === undefined ? "http" : "https"}://127.0.0.1:${address.port}`
        : `unix://${socket}`,
    queries,
    answer,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  return started;
}

export function json(value: unknown, code = 200, headers: Readonly<Record<string, string>> = {}): Answer {
  return (response) =>
    response.writeHead(code, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
}

/** The answer of a rule with this value. */
export function result(value: unknown, id?: string): Answer {
  return json({ result: value, ...(id === undefined ? {} : { decision_id: id }) });
}
