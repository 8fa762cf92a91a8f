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
  const say = throttled(logger);
  return (source, error) => {
    say(source, message, () => {
      const err = describeError(error);
      return { text: `${err.type}: ${err.message}`, fields: { err } };
    });
  };
}

/**
 * The same of a token that could not be fetched. `reason` is shown as it is: it holds no text of somebody else.
 */
export function tokenFailures(
  logger: Logger | false | undefined,
): (source: string, reason: string, hasToken: boolean) => void {
  const say = throttled(logger);
  return (source, reason, hasToken) => {
    const consequence = hasToken
      ? "the last one stays in use while it is valid"
      : "calls that need it end UNAVAILABLE";
    say(source, `a token could not be fetched; ${consequence}`, () => ({ text: reason, fields: { reason } }));
  };
}

interface Said {
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function throttled(
  logger: Logger | false | undefined,
): (source: string, message: string, describe: () => Said) => void {
  const throttle = new LogThrottle();
  return (source, message, describe) => {
    if (logger === false) return;
    const leftOut = throttle.admit(source);
    if (leftOut === undefined) return;
    const { text, fields } = describe();
    if (logger === undefined) {
      process.emitWarning(`${message}: ${source}: ${text}`, {
        type: "PalisadeWarning",
        code: "PALISADE_CREDENTIALS",
      });
      return;
    }
    try {
      logger.error({ source, left_out: leftOut, ...fields }, message);
    } catch {
      // A logger that throws must not end the call in another way; nothing is left to report it to.
    }
  };
}
