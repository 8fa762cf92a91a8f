// Shadow mode is said aloud (Z10): a server that refuses nothing must not look like one that does.
import type { Logger } from "pino";
import { z } from "zod";

/**
 * Shadow mode, for putting a policy or limits on a service that is in use: what is `false` is decided, logged
 * (`shadow_refusal`) and audited (`shadow: true`), and refuses nothing. `listen()` warns of it.
 */
export interface EnforceOptions {
  /**
   * The application's policy. Callers are authenticated all the same, and the server's own rules are always enforced: who
   * may use reflection, and who may list the health of all services. Default: true.
   */
  readonly authorization?: boolean | undefined;
  /** Everything under `rateLimit`, and of `methods` too. Default: true. */
  readonly rateLimit?: boolean | undefined;
}

export interface EnforceSettings {
  readonly authorization: boolean;
  readonly rateLimit: boolean;
}

/** The shape of `enforce`; the only place where its defaults stand. */
export const enforceSchema: z.ZodType<EnforceSettings, EnforceOptions> = z.strictObject({
  authorization: z.boolean().default(true),
  rateLimit: z.boolean().default(true),
});

export function warnOfShadow(logger: Logger, enforce: EnforceSettings): void {
  if (!enforce.authorization)
    logger.warn(
      "enforce.authorization is false: the policy is decided and recorded, and REFUSES NOTHING; every authenticated caller may call every method",
    );
  if (!enforce.rateLimit)
    logger.warn("enforce.rateLimit is false: rate limits are recorded, and REFUSE NOTHING");
}
