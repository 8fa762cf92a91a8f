// Where it is said why a credential source failed: to this process, whose source it is, and never to the call's error, which
// may be shown to anybody.
import type { Logger } from "pino";
import { describeError } from "../observability/error-description.ts";
import { LogThrottle } from "../observability/log-throttle.ts";

/** Told of a source that failed other than by a `StatusError`, which says on its own what it has to say. */
export type OnCredentialFailure = (source: string, error: unknown) => void;

const message = "a credential source failed; calls that need it end UNAUTHENTICATED";

/**
 * Says each source's failure once in ten seconds, to the logger or, without one, as a process warning. Texts as
 * `describeError` gives them: bounded, and without what looks like a secret.
 */
export function credentialFailures(logger: Logger | false | undefined): OnCredentialFailure {
  const throttle = new LogThrottle();
  return (source, error) => {
    if (logger === false) return;
    const leftOut = throttle.admit(source);
    if (leftOut === undefined) return;
    const err = describeError(error);
    if (logger === undefined) {
      process.emitWarning(`${message}: ${source}: ${err.type}: ${err.message}`, {
        type: "PalisadeWarning",
        code: "PALISADE_CREDENTIALS",
      });
      return;
    }
    try {
      logger.error({ source, left_out: leftOut, err }, message);
    } catch {
      // A logger that throws must not end the call in another way; nothing is left to report it to.
    }
  };
}
