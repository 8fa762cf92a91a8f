// Credential sources as grpc-js call credentials. Never handed out alone: only `compositeCredentials` and
// `createSecureClient` use them, behind TLS, because loose call credentials cannot see the channel they go over.
import { type CallCredentials, credentials, Metadata, status } from "@grpc/grpc-js";
import type { SecurityContext } from "../chain/context.ts";
import { StatusError } from "../grpc/errors.ts";
import type { OnCredentialFailure } from "./credential-failures.ts";
import type { CredentialRequest, CredentialSource } from "./credential-source.ts";

/**
 * Asks all `sources` for each call, at the same time. One that fails ends the call before anything of it is sent. `caller` is
 * of the one call that these credentials are for.
 */
export function callCredentials(
  sources: readonly CredentialSource[],
  onFailure: OnCredentialFailure,
  caller?: SecurityContext | undefined,
): CallCredentials {
  return credentials.createFromMetadataGenerator(({ method_name, service_url }, callback) => {
    collect(sources, onFailure, { method: method_name, serviceUrl: service_url, caller }).then(
      (metadata) => callback(null, metadata),
      (error: unknown) => callback(asError(error)),
    );
  });
}

async function collect(
  sources: readonly CredentialSource[],
  onFailure: OnCredentialFailure,
  call: CredentialRequest,
): Promise<Metadata> {
  const answers = await Promise.all(sources.map((source) => ask(source, onFailure, call)));
  const metadata = new Metadata();
  for (const [index, headers] of answers.entries()) {
    const source = sources[index]?.name;
    for (const [header, value] of Object.entries(headers)) {
      const problem = headerProblem(header, value);
      if (problem !== undefined) throw unauthenticated(`credential source "${source}": ${problem}`);
      // Two values would reach the server as one list, and which of them counts is anybody's guess.
      if (metadata.get(header).length > 0) {
        throw unauthenticated(
          `credential source "${source}": another source already gives ${header.toLowerCase()}`,
        );
      }
      metadata.set(header, value);
    }
  }
  return metadata;
}

async function ask(
  source: CredentialSource,
  onFailure: OnCredentialFailure,
  call: CredentialRequest,
): Promise<Readonly<Record<string, string>>> {
  try {
    const headers: unknown = await source.getCredentials(call);
    if (isRecord(headers)) return headers;
  } catch (error) {
    if (!(error instanceof StatusError)) onFailure(source.name, error);
    throw failure(source.name, error);
  }
  throw unauthenticated(`credential source "${source.name}": expected an object of headers`);
}

/** Only a `StatusError` says its text on purpose. Any other text may quote the token it is about. */
function failure(source: string, error: unknown): StatusError {
  if (error instanceof StatusError) {
    return new StatusError(error.code, `credential source "${source}": ${error.details}`, { cause: error });
  }
  return new StatusError(status.UNAUTHENTICATED, `credential source "${source}" failed${kindOf(error)}`, {
    cause: error,
  });
}

function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const code = "code" in error ? error.code : undefined;
  const words = [
    ...(/^[A-Z][A-Za-z]{0,40}$/.test(error.name) ? [error.name] : []),
    ...(typeof code === "string" && /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? [code] : []),
  ];
  return words.length === 0 ? "" : ` (${words.join(" ")})`;
}

function headerProblem(header: string, value: unknown): string | undefined {
  const lower = header.toLowerCase();
  // The name is not shown: where name and value were mixed up, it is the secret.
  if (!/^[a-z0-9][a-z0-9_.-]{0,127}$/.test(lower)) return "gives a header whose name gRPC does not allow";
  if (lower.startsWith("grpc-")) return "gives a grpc- header; those names belong to gRPC itself";
  if (lower.endsWith("-bin")) return "gives a binary header; credentials are text";
  if (typeof value !== "string" || value === "") return `gives no text for ${lower}`;
  if (!/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
    return `gives characters for ${lower} that are not printable ASCII, or spaces around the value`;
  }
  return undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, string>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unauthenticated(text: string): StatusError {
  return new StatusError(status.UNAUTHENTICATED, text);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error("credentials could not be collected");
}
