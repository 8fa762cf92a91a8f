// One POST to a token endpoint, which carries a client's secret and answers with a token: node:https with options of its own,
// and not `fetch`, which takes a proxy, and whether to verify the server, from the environment.
import { Buffer } from "node:buffer";
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";

export interface Posted {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: URLSearchParams;
  readonly signal: AbortSignal;
}

export interface Answered {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly contentType: string | undefined;
  readonly authenticate: string | undefined;
  readonly body: string;
}

/** The answer is larger than a token's. */
export class TooLarge extends Error {}

/** No token is near this long. */
export const maxAnswerBytes = 262_144;

const verified = { keepAlive: false, rejectUnauthorized: true, minVersion: "TLSv1.2" } as const;

/** Redirects are answers like any other: where they lead the secret does not go. */
export async function postForm(url: URL, { headers, body, signal }: Posted): Promise<Answered> {
  const text = body.toString();
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = (url.protocol === "https:" ? requestHttps : requestHttp)(url, {
      method: "POST",
      agent: url.protocol === "https:" ? new HttpsAgent(verified) : new HttpAgent(),
      headers: { ...headers, "content-length": String(Buffer.byteLength(text)) },
      signal,
    });
    request.on("response", resolve);
    request.on("error", reject);
    request.on("close", () => reject(new Error("the connection was closed without an answer")));
    request.end(text);
  });
  return {
    status: response.statusCode ?? 0,
    retryAfter: response.headers["retry-after"],
    contentType: response.headers["content-type"],
    authenticate: response.headers["www-authenticate"],
    body: await read(response),
  };
}

async function read(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop ends the connection.
    if (bytes > maxAnswerBytes) throw new TooLarge();
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
}
