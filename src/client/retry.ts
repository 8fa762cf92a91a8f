// grpc-js's own retries (gRFC A6), set up by one option.
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import { milliseconds, type OrUndefined } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { statusName } from "../grpc/status.ts";
import type { ClientChannelSettings } from "./client-channel-options.ts";

/** A status that says that the call did nothing, as far as a status can. */
export type RetryableStatus = status.UNAVAILABLE | status.RESOURCE_EXHAUSTED | status.ABORTED;

export interface RetryOptions {
  /** How often a call is made at most, the first time included. Default: 3. */
  readonly maxAttempts?: number | undefined;
  /** The pause before the second attempt, in milliseconds, give or take a fifth; it doubles with each one. Default: 100. */
  readonly initialBackoffMs?: number | undefined;
  /** The longest pause, the first one included, in milliseconds, give or take a fifth. Default: 1,000. */
  readonly maxBackoffMs?: number | undefined;
  /**
   * After which statuses: UNAVAILABLE (14), RESOURCE_EXHAUSTED (8), ABORTED (10). After any other one the call may have been done, or its
   * answer would be the same. Default: 14.
   */
  readonly codes?: readonly RetryableStatus[] | undefined;
}

export interface RetrySettings {
  readonly maxAttempts: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly codes: readonly RetryableStatus[];
}

const retryable: ReadonlySet<unknown> = new Set<RetryableStatus>([
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
]);

/** Why calls are not made again after this status. */
function refusal(code: unknown): string {
  const expected = "expected status.UNAVAILABLE, status.RESOURCE_EXHAUSTED or status.ABORTED";
  if (typeof code !== "number" || status[code] === undefined) return expected;
  const name = statusName(code);
  switch (code) {
    case status.OK:
      return `${name} is no failure; ${expected}`;
    case status.CANCELLED:
      return `${name} is what the caller asked for; ${expected}`;
    case status.DEADLINE_EXCEEDED:
      return `there is no time left after ${name}, and the call may have been done; ${expected}`;
    case status.UNKNOWN:
    case status.INTERNAL:
    case status.DATA_LOSS:
      return `after ${name} the call may have been done; ${expected}`;
    default:
      return `the answer would be ${name} again; ${expected}`;
  }
}

/** The shape of `retry`; the only place where its defaults stand. */
export const retrySchema: z.ZodType<RetrySettings | false, OrUndefined<RetryOptions> | false | undefined> = z
  .union([
    z.literal(false),
    z.strictObject({
      maxAttempts: z.int().min(2).max(5).default(3),
      initialBackoffMs: milliseconds.default(100),
      maxBackoffMs: milliseconds.default(1_000),
      codes: z
        .array(
          z.custom<RetryableStatus>((value) => retryable.has(value), {
            error: ({ input }) => refusal(input),
          }),
        )
        .min(1)
        .default([status.UNAVAILABLE]),
    }),
  ])
  .default(false);

/**
 * Where many calls fail, retries would keep a service down: grpc-js makes none while more than half of these tokens are
 * used up. A failed attempt takes one, an answered call gives back a tenth (gRFC A6, "Throttling").
 */
const retryThrottling = { maxTokens: 100, tokenRatio: 0.1 };

/**
 * A service config in DNS (a TXT record) says how often calls are made, at once even, and how long they may take. DNS is not
 * authenticated: it is not read unless the program asks for it.
 */
const configOfProgram: ClientChannelSettings = { "grpc.service_config_disable_resolution": 1 };

/** Channel options of `retry`. @throws ConfigError where `asked` would undo it */
export function retryChannelOptions(
  retry: RetrySettings | false,
  asked: ClientChannelSettings,
): ClientChannelSettings {
  if (retry === false) return asked["grpc.service_config_disable_resolution"] === 0 ? {} : configOfProgram;
  const problems = conflicts(retry, asked);
  if (problems.length > 0) throw new ConfigError(problems);
  const retryPolicy = {
    maxAttempts: retry.maxAttempts,
    // grpc-js limits the later ones only.
    initialBackoff: seconds(Math.min(retry.initialBackoffMs, retry.maxBackoffMs)),
    maxBackoff: seconds(retry.maxBackoffMs),
    backoffMultiplier: 2,
    retryableStatusCodes: retry.codes,
  };
  return {
    "grpc.service_config": JSON.stringify({
      methodConfig: [{ name: [{}], retryPolicy }],
      retryThrottling,
    }),
    ...configOfProgram,
  };
}

function conflicts(retry: RetrySettings, asked: ClientChannelSettings): readonly string[] {
  const limit = asked["grpc-node.retry_max_attempts_limit"];
  const path = "channelOptions.grpc";
  return [
    ...(asked["grpc.service_config"] === undefined
      ? []
      : [
          `${path}.service_config: cannot be given with retry, which is one; write the retry policy there, or remove it`,
        ]),
    ...(asked["grpc.service_config_disable_resolution"] === 0
      ? [
          `${path}.service_config_disable_resolution: a service config in DNS would replace retry; remove this option`,
        ]
      : []),
    ...(asked["grpc.enable_retries"] === 0
      ? [`${path}.enable_retries: turns retry off; remove one of the two`]
      : []),
    ...(limit !== undefined && limit < retry.maxAttempts
      ? [`${path}-node.retry_max_attempts_limit: is less than retry.maxAttempts; remove it`]
      : []),
  ];
}

/** As JSON has a Duration: seconds, with the unit. */
function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(3)}s`;
}
