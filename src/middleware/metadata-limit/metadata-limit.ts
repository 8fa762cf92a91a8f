// The metadata limit: what a caller may send before its first message.
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import type { Middleware } from "../../chain/middleware.ts";
import { parseOptions } from "../../config/options.ts";
import { StatusError } from "../../grpc/errors.ts";
import { texts } from "../../grpc/status.ts";

export interface MetadataLimitOptions {
  /**
   * The most metadata that a call may carry, in bytes as RFC 9113 section 10.5.1 counts them: name + value + 32 for
   * each field. Default: 8,192.
   */
  readonly maxMetadataBytes?: number | undefined;
}

/**
 * The only place where the default stands. The largest value is half of what HTTP/2 can say in
 * SETTINGS_MAX_HEADER_LIST_SIZE, because its hard cap is twice this limit.
 */
export const maxMetadataBytesSchema: z.ZodDefault<z.ZodInt> = z.int().min(1).max(2_147_483_647).default(8192);

/** The shape of the middleware's options. */
export const metadataLimitSchema: z.ZodType<{ readonly maxMetadataBytes: number }> = z.strictObject({
  maxMetadataBytes: maxMetadataBytesSchema,
});

/**
 * Refuses calls with too much metadata, health probes included: RESOURCE_EXHAUSTED `metadata too large`.
 *
 * @throws {ConfigError} for bad options.
 */
export function metadataLimit(options: MetadataLimitOptions = {}): Middleware {
  const { maxMetadataBytes } = parseOptions(metadataLimitSchema, options, "limits");
  return Object.freeze<Middleware>({
    name: "metadata-limit",
    onCall(call) {
      if (call.metadataBytes > maxMetadataBytes) {
        throw new StatusError(status.RESOURCE_EXHAUSTED, texts.metadataTooLarge);
      }
    },
  });
}
