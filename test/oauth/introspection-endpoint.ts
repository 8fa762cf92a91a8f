// An introspection endpoint on a local port that answers as a test tells it.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";

export type Answer = (response: ServerResponse, request: IncomingMessage, form: URLSearchParams) => void;

export interface FakeEndpoint extends AsyncDisposable {
  readonly url: string;
  /** The forms that were posted, and with which `authorization`. */
  readonly posted: { readonly form: URLSearchParams; readonly authorization: string | undefined }[];
  answer: Answer;
}

export async function startEndpoint(answer: Answer): Promise<FakeEndpoint> {
  const posted: FakeEndpoint["posted"] = [];
  const server = createServer((request, response) => {
    text(request).then(
      (body) => {
        const form = new URLSearchParams(body);
        posted.push({ form, authorization: request.headers.authorization });
        started.answer(response, request, form);
      },
      () => {},
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  const started: FakeEndpoint = {
    url: `http://127.0.0.1:${address.port}/introspect`,
    posted,
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
    response
      .writeHead(code, { "content-type": "application/json", ...headers })
      .end(typeof value === "string" ? value : JSON.stringify(value));
}

export const nowSec = (): number => Math.floor(Date.now() / 1000);

/** What an honest server says of a good token. */
export function active(more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return {
    active: true,
    sub: "ada",
    client_id: "web",
    token_type: "Bearer",
    aud: "kinds",
    iss: "https://id.example",
    iat: nowSec(),
    exp: nowSec() + 86_400,
    jti: "id-1",
    tenant: "acme",
    roles: ["caller"],
    ...more,
  };
}
