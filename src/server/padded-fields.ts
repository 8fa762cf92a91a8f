// Some versions of Node drop header fields whose value begins or ends with white space, credentials too, before anybody
// sees them (RFC 9113 section 8.2.1 calls such fields malformed).
import type { Logger } from "pino";

/**
 * Does this version of Node drop them whatever it is told? Since 22.17 and 24.2 it keeps them where a server asks for that
 * with `strictFieldWhitespaceValidation: false`, and ours does.
 */
export function dropsPaddedFields(version: string): boolean {
  const [major = 0, minor = 0] = version.replace("v", "").split(".").map(Number);
  if (major === 22) return minor < 17;
  if (major === 24) return minor < 2;
  return major < 24;
}

export function tellOfDroppedFields(logger: Logger, version: string): void {
  if (!dropsPaddedFields(version)) return;
  logger.info(
    `Node ${version} drops header fields whose value begins or ends with white space: a call with such a credential ` +
      "counts as a call without one. Trim credentials in the client, or use Node 22.17, 24.2 or later",
  );
}
