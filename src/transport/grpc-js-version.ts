// Which versions of grpc-js this release was made for. Others are refused, or named as untested.
import { createRequire } from "node:module";
import { ConfigError } from "../grpc/errors.ts";

/** As in `peerDependencies`: what is used of grpc-js beyond its documented interface is the same in all of these. */
const tested = { major: 1, minor: 14, first: "1.14.0", last: "1.14.7" } as const;

/** Named once a process, however many servers and clients it makes. */
let named = false;

/**
 * Refuses a grpc-js older than 1.14, or of another major version: with 1.12 a server starts, and answers every call with
 * UNKNOWN. A newer 1.x is named in a process warning (`PALISADE_GRPC_JS`); what it lacks of what is used stops the start.
 *
 * @throws {ConfigError} with the installed version and the ones that are supported.
 */
export function checkGrpcJsVersion(installed: string | undefined = installedVersion()): void {
  if (installed === undefined) return;
  const [major = Number.NaN, minor = Number.NaN] = installed.split(".").map(Number);
  if (major === tested.major && minor === tested.minor) return;
  if (major !== tested.major || !(minor > tested.minor))
    throw new ConfigError(
      `@grpc/grpc-js ${installed} is installed, and this release needs 1.14 (tested with ${tested.first} to ` +
        `${tested.last}); install it (npm install @grpc/grpc-js@~1.14.7)`,
    );
  if (named) return;
  named = true;
  process.emitWarning(
    `@grpc/grpc-js ${installed} is installed, and this release was tested with ${tested.first} to ${tested.last} only; ` +
      "use one of these (npm install @grpc/grpc-js@~1.14.7), or a newer release of grpc-palisade",
    { type: "PalisadeWarning", code: "PALISADE_GRPC_JS" },
  );
}

/** Undefined where it cannot be read, as in a bundle that holds grpc-js's code and not its package.json. */
function installedVersion(): string | undefined {
  try {
    const { version } = createRequire(import.meta.url)("@grpc/grpc-js/package.json") as { version?: unknown };
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}
