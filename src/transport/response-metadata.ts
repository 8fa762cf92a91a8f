// Metadata: what is in it, and what of it may be sent.
import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";

export function isEmptyMetadata(metadata: Metadata): boolean {
  return Object.keys(metadata.getMap()).length === 0;
}

/** Every key with all its values. */
export function metadataEntries(metadata: Metadata): readonly (readonly [string, readonly unknown[]])[] {
  return Object.keys(metadata.toJSON()).map((key) => [key, metadata.get(key)] as const);
}

export function metadataSize(metadata: Metadata): number {
  let bytes = 0;
  for (const [key, values] of metadataEntries(metadata)) {
    for (const value of values) {
      if (typeof value === "string" || Buffer.isBuffer(value)) bytes += key.length + sentLength(value) + 32;
    }
  }
  return bytes;
}

/** Connection-specific fields (RFC 9113 section 8.2.2) and those that the transport writes. */
const reservedHeaders: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "te",
  "host",
  "content-type",
  "content-length",
  "grpc-status",
  "grpc-message",
  "grpc-encoding",
  "grpc-accept-encoding",
]);

/**
 * The most response metadata that is sent, counted as RFC 9113 section 10.5.1 counts. nghttp2 sends no header block
 * beyond 64 KiB: it drops the frame without a word, and the caller waits. Two of these, from handler and middleware,
 * and the status with its details have room below that.
 */
export const maxMetadataBytes = 16_384;

/**
 * Takes out of response metadata what HTTP/2 or Node would throw at: such a throw happens inside an event of the
 * stream, where it ends the process or leaves the caller waiting. `onDropped` hears each key.
 */
export function cleanMetadata(metadata: unknown, onDropped: (key: string) => void): Metadata | undefined {
  if (metadata === undefined || metadata === null) return undefined;
  if (!(metadata instanceof Metadata)) {
    onDropped("(not a grpc.Metadata)");
    return undefined;
  }
  // protection: clean-metadata
  if (isEmptyMetadata(metadata)) return metadata;
  const clean = new Metadata(metadata.getOptions());
  let room = maxMetadataBytes;
  for (const [key, values] of metadataEntries(metadata)) {
    if (reservedHeaders.has(key) || key.startsWith(":")) {
      onDropped(key);
      continue;
    }
    for (const value of sendableValues(key, values, onDropped)) {
      const bytes = key.length + sentLength(value) + 32;
      if (bytes > room) {
        onDropped(key);
        continue;
      }
      room -= bytes;
      try {
        clean.add(key, value);
      } catch {
        onDropped(key);
      }
    }
  }
  return clean;
}

/** Binary values travel as base64. */
function sentLength(value: string | Buffer): number {
  return typeof value === "string" ? value.length : Math.ceil(value.length / 3) * 4;
}

/** Node refuses to send these more than once (`ERR_HTTP2_HEADER_SINGLE_VALUE`). */
const singleValueHeaders: ReadonlySet<string> = new Set(
  `access-control-allow-credentials access-control-max-age access-control-request-method age authorization
  content-encoding content-language content-length content-location content-md5 content-range content-type date dnt
  etag expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location
  max-forwards proxy-authorization range referer retry-after tk upgrade-insecure-requests user-agent
  x-content-type-options`.split(/\s+/),
);

/** May there be no more than one of it? */
export function isSingleValue(key: string): boolean {
  return singleValueHeaders.has(key);
}

function sendableValues(
  key: string,
  values: readonly unknown[],
  onDropped: (key: string) => void,
): readonly (string | Buffer)[] {
  const sendable = values.filter((value) => typeof value === "string" || Buffer.isBuffer(value));
  const few = singleValueHeaders.has(key) ? sendable.slice(0, 1) : sendable;
  if (few.length < values.length) onDropped(key);
  return few;
}
