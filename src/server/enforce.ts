// A dry run is logged as a warning at start: a server that refuses nothing must not look like one that does.
import type { Logger } from "pino";
import { z } from "zod";

/**
 * A dry run, for putting a policy or limits on a service that is in use: what is `false` is decided, logged
 * (`dry_run_refusal`) and audited (`dryRun: true`), and refuses nothing. `listen()` warns of it.
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

export function warnOfDryRun(logger: Logger, enforce: EnforceSettings): void {
  if (!enforce.authorization)
    logger.warn(
      "enforce.authorization is false, dry run: denials are logged, and NO CALL IS REFUSED; every authenticated caller may call every method",
    );
  if (!enforce.rateLimit)
    logger.warn("enforce.rateLimit is false, dry run: exceeded limits are logged, and NO CALL IS REFUSED");
}
