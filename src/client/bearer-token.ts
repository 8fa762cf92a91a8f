// Bearer tokens on calls: `authorization: Bearer …` (RFC 6750 section 2.1).
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import { parseOptions } from "../config/options.ts";
import { ConfigError, StatusError } from "../grpc/errors.ts";
import type { CredentialSource } from "./credential-source.ts";
import { secretProblem } from "./secret-text.ts";
import { TokenFile } from "./token-file.ts";

/** Where the token comes from: itself, a file that somebody keeps fresh, or a function. */
export type BearerTokenSource = string | { readonly file: string } | (() => string | Promise<string>);

const fileSchema = z.strictObject({ file: z.string().min(1, { error: "expected the path of a file" }) });

/**
 * Sends a bearer token with every call. The token is given without the word `Bearer`, and is not decoded or checked
 * for expiry: the server says what it thinks of it.
 *
 * - A string is sent as it is.
 * - `{ file }` is read on the first call and again whenever it changed, so that a rotated Kubernetes token is picked up
 *   by the next call; from 90 seconds before a JWT's `exp` it is read whether it changed or not (gRFC A97). White space
 *   around the token is cut. While the file is missing or holds no token, the last good token stays in use until 30 seconds
 *   before its `exp`, with a process warning. Where there is none, calls end UNAVAILABLE if the file cannot be read, and
 *   UNAUTHENTICATED if it holds no token.
 * - A function is asked for each call; give it a cache where the token is costly.
 *
 * @throws ConfigError where the source is none of these, or the token cannot be sent; the token itself is never shown
 * @example
 * bearerToken(() => session.accessToken());
 * bearerToken({ file: "/var/run/secrets/tokens/orders" });
 */
export function bearerToken(source: BearerTokenSource): CredentialSource {
  if (typeof source === "function") return fromFunction(source);
  if (typeof source === "string") return fromString(source);
  if (typeof source !== "object" || source === null) {
    throw new ConfigError(
      `bearerToken: expected a token, { file } or a function, got ${source === null ? "null" : typeof source}`,
    );
  }
  return fromFile(parseOptions(fileSchema, source, "bearerToken").file);
}

const name = "bearer-token";

function fromString(token: string): CredentialSource {
  const problem = secretProblem(token);
  if (problem !== undefined) throw new ConfigError(`bearerToken: the token ${problem}`);
  const headers = header(token);
  return { name, getCredentials: () => headers };
}

function fromFile(path: string): CredentialSource {
  const file = new TokenFile(path);
  return { name, getCredentials: async () => header(await file.read()), renew: () => file.reread() };
}

function fromFunction(read: () => string | Promise<string>): CredentialSource {
  return {
    name,
    getCredentials() {
      const token = read();
      return typeof token === "string" ? checkedHeader(token) : Promise.resolve(token).then(checkedHeader);
    },
  };
}

function checkedHeader(token: unknown): Readonly<Record<string, string>> {
  const problem = secretProblem(token);
  if (problem !== undefined) {
    throw new StatusError(status.UNAUTHENTICATED, `what the token function returned ${problem}`);
  }
  return header(String(token));
}

function header(token: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${token}` };
}
