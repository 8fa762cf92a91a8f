// One query to an OPA server's Data API: POST /v1/data/<path>. By node:http and node:https with agents of its own, which keep connections, and
// not `fetch`, which takes a proxy, and whether to verify the server, from the environment.
import { Buffer } from "node:buffer";
import {
  Agent as HttpAgent,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { kindOf } from "../client/renewed-token.ts";
import { isLoopbackTarget } from "../config/loopback.ts";
import { ConfigError } from "../grpc/errors.ts";
import type { PolicyAnswer } from "./opa-decision.ts";
import { OpaFailure } from "./opa-failure.ts";

/** Far more than a decision needs. */
const maxAnswerBytes = 65_536;

export interface OpaServerOptions {
  readonly url: string;
  readonly path: string;
  readonly plaintext: "mesh" | undefined;
  /** PEM. Undefined: Node's roots. */
  readonly ca: Buffer | undefined;
  readonly maxConcurrent: number;
  /** Undefined: none is sent. */
  readonly token: (() => string | Promise<string>) | undefined;
}

export interface OpaServer {
  /** Rejects with `OpaFailure` for everything but an object of status 200 in JSON. */
  query(body: string, signal: AbortSignal): Promise<PolicyAnswer>;
}

/** @throws {ConfigError} where a token or a decision could be read or changed on the way, and where `url` is none. */
export function opaServer(options: OpaServerOptions): OpaServer {
  const { isSecure, ...place } = placeOf(options);
  const pooled = { keepAlive: true, maxFreeSockets: options.maxConcurrent };
  const tls = {
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  } as const;
  const send: Send = isSecure ? requestHttps : requestHttp;
  const kept = isSecure ? new HttpsAgent({ ...pooled, ...tls }) : new HttpAgent(pooled);
  const fresh = isSecure ? new HttpsAgent(tls) : new HttpAgent();
  const { token } = options;
  return {
    async query(body, signal) {
      try {
        const headers = {
          accept: "application/json",
          "content-type": "application/json",
          "content-length": String(Buffer.byteLength(body)),
          ...(token === undefined ? {} : { authorization: `Bearer ${await orAborted(signal, token())}` }),
        };
        const request: RequestOptions = { ...place, method: "POST", headers, signal };
        const response = await answerTo(send, { ...request, agent: kept }, body).catch((error: unknown) => {
          // OPA closed a connection just when it was used again. A query changes nothing, and may be sent twice.
          if (error instanceof ClosedMeanwhile) return answerTo(send, { ...request, agent: fresh }, body);
          throw error;
        });
        return await read(response);
      } catch (error) {
        if (error instanceof OpaFailure) throw error;
        throw new OpaFailure(
          signal.aborted
            ? "OPA did not answer in time (timeoutMs)"
            : `OPA could not be asked: ${kindOf(error)}`,
        );
      }
    },
  };
}

/** Rejects where the signal aborts first: a file system may hang. */
function orAborted<T>(signal: AbortSignal, given: T | Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    Promise.resolve(given)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", abort));
  });
}

type Send = (options: RequestOptions) => ReturnType<typeof requestHttp>;

class ClosedMeanwhile extends Error {}

function answerTo(send: Send, options: RequestOptions, body: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = send(options);
    request.on("response", resolve);
    request.on("error", (error) => {
      const code = "code" in error ? error.code : undefined;
      const closed = request.reusedSocket && (code === "ECONNRESET" || code === "EPIPE");
      reject(closed ? new ClosedMeanwhile() : error);
    });
    request.on("close", () => reject(new Error("the connection was closed without an answer")));
    request.end(body);
  });
}

async function read(response: IncomingMessage): Promise<PolicyAnswer> {
  const { statusCode = 0, headers } = response;
  const type = headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase();
  const problem =
    statusCode !== 200
      ? `OPA answered HTTP ${statusCode}${adviceFor(statusCode)}`
      : type === "application/json"
        ? undefined
        : "OPA's answer is malformed: its content type is not application/json";
  if (problem !== undefined) {
    // The rest is not waited for.
    response.destroy();
    throw new OpaFailure(problem);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop ends the connection.
    if (bytes > maxAnswerBytes) throw new OpaFailure(`OPA answered with more than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return answerIn(Buffer.concat(chunks));
}

function adviceFor(statusCode: number): string {
  if (statusCode === 401 || statusCode === 403) return ": check the option token, and OPA's system.authz";
  if (statusCode === 404) return ": check url; it is where OPA's /v1 is";
  return statusCode >= 300 && statusCode < 400 ? ", a redirect, which is not followed" : "";
}

function answerIn(body: Buffer): PolicyAnswer {
  let answer: unknown;
  try {
    answer = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new OpaFailure("OPA's answer is malformed: it is not JSON");
  }
  if (typeof answer !== "object" || answer === null || Array.isArray(answer))
    throw new OpaFailure("OPA's answer is malformed: it is not an object");
  const result: unknown = Object.hasOwn(answer, "result") ? Reflect.get(answer, "result") : undefined;
  const id: unknown = Object.hasOwn(answer, "decision_id") ? Reflect.get(answer, "decision_id") : undefined;
  // It is a UUID, unless OPA was built otherwise.
  return { result, ...(typeof id === "string" && /^[\x21-\x7e]{1,128}$/.test(id) ? { id } : {}) };
}

type Place = Pick<RequestOptions, "host" | "port" | "socketPath" | "path"> & { readonly isSecure: boolean };

/** Whoever can change the answer decides: https, and http only where it never leaves the machine, or is named. */
function placeOf({ url: text, path: asked, plaintext, token }: OpaServerOptions): Place {
  const path = `/v1/data/${asked.split("/").map(encodeURIComponent).join("/")}`;
  const socketPath = /^unix:(?:\/\/)?(\/.+)$/.exec(text)?.[1];
  if (socketPath !== undefined) return { socketPath, path, isSecure: false };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:\/\//i.test(text))
    throw new ConfigError(
      "opa.url: expected https://…, http://… to this machine, or unix:///path of a socket",
    );
  if (url.username !== "" || url.password !== "")
    throw new ConfigError("opa.url: expected a URL without credentials; use the option token");
  if (url.search !== "" || url.hash !== "")
    throw new ConfigError("opa.url: expected a URL without query and fragment");
  const isSecure = url.protocol === "https:";
  if (!isSecure && !isLoopbackTarget(url.hostname)) {
    if (plaintext !== "mesh")
      throw new ConfigError(
        'opa.url: expected https (http only to a loopback address or a Unix socket); where a mesh encrypts, say plaintext: "mesh"',
      );
    if (token !== undefined)
      throw new ConfigError("opa.token: is sent over https, a loopback address or a Unix socket only");
  }
  return {
    // Without the brackets of IPv6.
    host: url.hostname.replace(/^\[|\]$/g, ""),
    ...(url.port === "" ? {} : { port: url.port }),
    path: `${url.pathname.replace(/\/+$/, "")}${path}`,
    isSecure,
  };
}
