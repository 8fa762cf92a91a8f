// One request for a document of an issuer: its JWK Set (RFC 7517 section 5), or the metadata that says where that is. Whoever
// can change the answer can sign tokens, so the request depends on nothing outside this file: it is `node:https` with options
// of its own, and not `fetch`, which asks NODE_TLS_REJECT_UNAUTHORIZED whether to verify the server, and takes a proxy from
// the environment or from other code.
import { Buffer } from "node:buffer";
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";

export interface DocumentRequest {
  /** What it is, for errors: `the JWK Set`. */
  readonly what: string;
  /** Media types, as in `Accept`. */
  readonly accept: string;
  readonly signal: AbortSignal;
  /** Called before the issuer reads the request. */
  onConnect?(): void;
}

export interface IssuerDocument {
  readonly body: string;
  /** How long the issuer lets it be kept: `max-age` of `Cache-Control` (RFC 9111 section 5.2.2.1), in milliseconds. */
  readonly maxAgeMs: number | undefined;
}

const maxResponseBytes = 1024 * 1024;

/** The issuer answered, but not with the document. */
export class RefusedRequest extends Error {
  readonly statusCode: number | undefined;

  constructor(what: string, statusCode: number | undefined) {
    super(`${what} could not be read: HTTP ${statusCode}`);
    this.statusCode = statusCode;
  }
}

/** Rejects for every answer but a whole one of status 200 with UTF-8 in it, redirects included. */
export async function requestDocument(uri: URL, asked: DocumentRequest): Promise<IssuerDocument> {
  const response = await answerFrom(uri, asked);
  return {
    body: await readBody(response, asked.what),
    maxAgeMs: maxAgeOf(response.headers["cache-control"]),
  };
}

/**
 * For an agent of our own. `agent: false` makes one of the global agent's class, which other code may have replaced, and
 * whose options outweigh the request's. What is stated here the environment is not asked. NODE_EXTRA_CA_CERTS adds to the
 * roots as everywhere in Node.
 */
const verified = {
  keepAlive: false,
  rejectUnauthorized: /* protection: issuer-certificate */ true,
  minVersion: "TLSv1.2",
} as const;

function answerFrom(
  uri: URL,
  { what, accept, signal, onConnect }: DocumentRequest,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (uri.protocol === "https:" ? requestHttps : requestHttp)(uri, {
      agent: uri.protocol === "https:" ? new HttpsAgent(verified) : new HttpAgent(),
      // RFC 9111 section 5.2.1.4: a shared cache on the way must not answer with an older set.
      headers: { accept, "cache-control": "no-cache" },
      signal,
    });
    request.once("socket", (socket) => socket.once("connect", () => onConnect?.()));
    request.on("response", (response) => {
      if (response.statusCode === 200) {
        resolve(response);
        return;
      }
      // A redirect too: it could lead anywhere, to plain http as well.
      reject(new RefusedRequest(what, response.statusCode));
      request.destroy();
    });
    request.on("error", reject);
    request.on("close", () => reject(new Error("the connection was closed without an answer")));
    request.end();
  });
}

async function readBody(response: IncomingMessage, what: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop ends the connection.
    if (bytes > maxResponseBytes) throw new Error(`${what} is larger than ${maxResponseBytes} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
}

function maxAgeOf(cacheControl: string | undefined): number | undefined {
  for (const directive of cacheControl?.split(",") ?? []) {
    const seconds = /^max-age="?(\d{1,10})"?$/i.exec(directive.trim())?.[1];
    if (seconds !== undefined) return Number(seconds) * 1000;
  }
  return undefined;
}
