// What of a status may leave: a text that HTTP/2 and callers take, metadata that HTTP/2 does not throw at.
import { Metadata } from "@grpc/grpc-js";
import { encodeStatusDetails } from "../grpc/error-details.ts";
import type { PartialStatus } from "../transport/call.ts";
import {
  cleanMetadata,
  isEmptyMetadata,
  isSingleValue,
  maxMetadataBytes,
} from "../transport/response-metadata.ts";
import type { PublicStatus } from "./public-status.ts";

type OnDropped = (key: string) => void;

/** `added`: trailers that middleware set. */
export function leavingStatus(
  sent: PublicStatus,
  added: Metadata | undefined,
  onDropped: OnDropped,
): PartialStatus {
  const details = leavingText(sent.details);
  return { code: sent.code, details, metadata: leavingMetadata(sent, details, added, onDropped) };
}

/** gRFC A6: when the caller may make the call again; never, where it is negative. */
const pushback = "grpc-retry-pushback-ms";

/**
 * Of UNAUTHENTICATED after the handler has begun: says in `trailers` that the caller is not to make the call again with renewed credentials, unless the
 * status or a middleware says so itself.
 */
export function forbidRenewedAttempt({ metadata }: PublicStatus, trailers: Metadata): void {
  const isSaid = metadata instanceof Metadata && metadata.get(pushback).length > 0;
  if (!isSaid && trailers.get(pushback).length === 0) trailers.set(pushback, "-1");
}

function leavingMetadata(
  { code, metadata, errorDetails }: PublicStatus,
  text: string,
  added: Metadata | undefined,
  onDropped: OnDropped,
): Metadata | null {
  if (metadata === undefined && added === undefined && errorDetails === undefined) return null;
  const trailers = merged(onDropped, metadata, added);
  if (errorDetails !== undefined && errorDetails.length > 0) {
    const details = encodeStatusDetails(code, text, errorDetails);
    if (details.length <= maxMetadataBytes) trailers.set("grpc-status-details-bin", details);
    else onDropped("grpc-status-details-bin");
  }
  return isEmptyMetadata(trailers) ? null : trailers;
}

/** What may be sent of all of them together: a field of which there may be one is the first one's. */
export function merged(onDropped: OnDropped, ...all: readonly (Metadata | undefined)[]): Metadata {
  const metadata = new Metadata();
  for (const each of all) {
    const clean = cleanMetadata(each, onDropped);
    if (clean === undefined) continue;
    for (const key of Object.keys(clean.getMap()))
      if (isSingleValue(key) && metadata.get(key).length > 0) {
        clean.remove(key);
        onDropped(key);
      }
    metadata.merge(clean);
  }
  return metadata;
}

/** A caller's header limit is often 8 KiB: a text beyond this would lose the whole status. */
const maxTextLength = 1024;
/** The same text in bytes as `grpc-message` encodes them: three for each byte beyond ASCII. */
const maxEncodedLength = 3 * maxTextLength;
/** No character takes more than nine bytes in `grpc-message` for each of its UTF-16 units. */
const maxBytesPerUnit = 9;

/** `encodeURI` throws on a lone surrogate. */
function leavingText(details: string): string {
  if (details.length * maxBytesPerUnit <= maxEncodedLength) return details.toWellFormed();
  const whole = details.slice(0, maxTextLength).toWellFormed();
  if (encodeURI(whole).length <= maxEncodedLength)
    return whole.length === details.length ? whole : `${whole}…`;
  return `${whole.slice(0, maxEncodedLength / maxBytesPerUnit).toWellFormed()}…`;
}
