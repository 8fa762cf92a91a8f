// One request for a JWK Set (RFC 7517 section 5). Whoever can change the answer can sign tokens, so the request depends on
// nothing outside this file: it is `node:https` with options of its own, and not `fetch`, which asks
// NODE_TLS_REJECT_UNAUTHORIZED whether to verify the server, and takes a proxy from the environment or from other code.
import { Buffer } from "node:buffer";
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { isObject } from "./json-object.ts";

export interface JwksAnswer {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
  /** How long the issuer lets the set be kept: `max-age` of `Cache-Control` (RFC 9111 section 5.2.2.1), in milliseconds. */
  readonly maxAgeMs: number | undefined;
}

/** For the whole answer. Less than the default of `deadline.checkTimeoutMs`, so that a call can still use older keys. */
const timeoutMs = 4_000;
const maxResponseBytes = 1024 * 1024;
const maxKeys = 100;

/**
 * Throws for everything that is not a well-formed JWK Set, so that it never replaces a good one. A well-formed set is what
 * the issuer says, an empty one included: then it vouches for no key. `onConnect` is called before the issuer reads the
 * request.
 */
export async function requestJwks(uri: URL, onConnect: () => void): Promise<JwksAnswer> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const response = await answerFrom(uri, signal, onConnect);
    return { keys: keysOf(await readBody(response)), maxAgeMs: maxAgeOf(response.headers["cache-control"]) };
  } catch (cause) {
    if (signal.aborted) throw new Error(`no complete answer within ${timeoutMs} ms`, { cause });
    throw cause;
  }
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

function answerFrom(uri: URL, signal: AbortSignal, onConnect: () => void): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (uri.protocol === "https:" ? requestHttps : requestHttp)(uri, {
      agent: uri.protocol === "https:" ? new HttpsAgent(verified) : new HttpAgent(),
      // RFC 9111 section 5.2.1.4: a shared cache on the way must not answer with an older set.
      headers: { accept: "application/jwk-set+json, application/json", "cache-control": "no-cache" },
      signal,
    });
    request.once("socket", (socket) => socket.once("connect", onConnect));
    request.on("response", (response) => {
      if (response.statusCode === 200) {
        resolve(response);
        return;
      }
      // A redirect too: it could lead anywhere, to plain http as well.
      reject(new Error(`the JWK Set URL answered HTTP ${response.statusCode}`));
      request.destroy();
    });
    request.on("error", reject);
    request.on("close", () => reject(new Error("the connection was closed without an answer")));
    request.end();
  });
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop ends the connection.
    if (bytes > maxResponseBytes) throw new Error(`the JWK Set is larger than ${maxResponseBytes} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
}

function keysOf(body: string): JwksAnswer["keys"] {
  const set: unknown = JSON.parse(body);
  if (!isObject(set) || !Array.isArray(set["keys"]))
    throw new Error("the answer is not a JWK Set: no array `keys`");
  const keys: unknown[] = set["keys"];
  if (keys.length > maxKeys) throw new Error(`the JWK Set has more than ${maxKeys} keys`);
  if (!keys.every(isJwk)) throw new Error("the answer is not a JWK Set: a key has no `kty`");
  return keys;
}

function isJwk(value: unknown): value is Record<string, unknown> {
  return isObject(value) && typeof value["kty"] === "string";
}

function maxAgeOf(cacheControl: string | undefined): number | undefined {
  for (const directive of cacheControl?.split(",") ?? []) {
    const seconds = /^max-age="?(\d{1,10})"?$/i.exec(directive.trim())?.[1];
    if (seconds !== undefined) return Number(seconds) * 1000;
  }
  return undefined;
}
