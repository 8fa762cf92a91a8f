// What attackers use instead of a client: forged tokens, and HTTP/2 by hand.
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import { statusText } from "./answer.ts";
import type { Seen } from "./demo-call.ts";

/** The claims of a good token, in a token that nobody signed. */
export function unsigned(token: string): string {
  return `${encoded({ alg: "none", typ: "JWT" })}.${payloadOf(token)}.`;
}

/** The claims of a good token, signed with the issuer's public key as if it were a shared secret. */
export function signedWithPublicKey(token: string, publicKeyPem: string): string {
  const signed = `${encoded({ alg: "HS256", typ: "JWT" })}.${payloadOf(token)}`;
  return `${signed}.${createHmac("sha256", publicKeyPem).update(signed).digest("base64url")}`;
}

/** A good token with other claims under the old signature. */
export function tampered(token: string, claims: Readonly<Record<string, unknown>>): string {
  const [header, payload = "", signature] = token.split(".");
  const old: Readonly<Record<string, unknown>> = JSON.parse(Buffer.from(payload, "base64url").toString());
  return `${header}.${encoded({ ...old, ...claims })}.${signature}`;
}

function payloadOf(token: string): string {
  return token.split(".")[1] ?? "";
}

function encoded(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}

/** A connection of its own. What becomes of it, its requests tell. */
export function openSession(url: string, options: SecureClientSessionOptions): ClientHttp2Session {
  return connect(url, options).on("error", () => {});
}

/**
 * A gRPC request by hand; how it ended. Without a message the request stream is left open.
 *
 * @throws where the connection did not come about, or ended without an answer
 */
export function request(
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>>,
  message?: Buffer,
): Promise<string> {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  if (message !== undefined) stream.end(Buffer.concat([lengthPrefix(message), message]));
  stream.resume();
  return new Promise((resolve, reject) => {
    const read = ({ "grpc-status": code, "grpc-message": text = "" }: IncomingHttpHeaders): void => {
      if (code === undefined) return;
      resolve(statusText({ code: Number(code), details: decodeURIComponent(String(text)) }));
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.on("error", reject);
    stream.on("close", () => reject(new Error("closed")));
  });
}

/** Not compressed, and four bytes that say how long it is. */
function lengthPrefix(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return prefix;
}

/** Tries to connect and to call the public method. */
export async function knock(url: string, options: SecureClientSessionOptions = {}): Promise<Seen> {
  const session = openSession(url, options);
  try {
    return { result: await request(session, "/orders.v1.Orders/Ping", {}, Buffer.alloc(0)) };
  } catch (error) {
    return { result: "connection refused", remark: reasonOf(error) };
  } finally {
    session.destroy();
  }
}

/** Node's error code in words, of what ended the connection where it is known: `tlsv13 alert certificate required`. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause !== undefined) return reasonOf(error.cause);
  if (!("code" in error) || typeof error.code !== "string") return error.message;
  return error.code
    .replace(/^ERR_(SSL_|HTTP2_)?/, "")
    .replaceAll("_", " ")
    .toLowerCase();
}
