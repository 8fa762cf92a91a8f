/**
 * The one place that loads oauth4webapi, an optional peer that is an ECMAScript module alone. Every supported Node can
 * `require()` such a module from our CommonJS build; Jest's own `require` cannot, so there Node's takes its place.
 */
import { runInThisContext } from "node:vm";
import { loadOptional } from "../config/optional-package.ts";

type OAuth4WebApi = typeof import("oauth4webapi", { with: { "resolution-mode": "import" }});

export type AuthorizationServer = import("oauth4webapi", { with: {
  "resolution-mode": "import",
}}).AuthorizationServer;
export type ClientAuth = import("oauth4webapi", { with: { "resolution-mode": "import" }}).ClientAuth;

let loaded: OAuth4WebApi | undefined;

/** @throws {ConfigError} where it is not installed. */
export function oauth4webapi(): OAuth4WebApi {
  loaded ??= loadOptional(
    "oauth4webapi",
    { neededBy: "grpc-palisade/oauth", install: "oauth4webapi" },
    load,
  ) as OAuth4WebApi;
  return loaded;
}

function load(): unknown {
  try {
    // Written out, so that bundlers see it.
    return require("oauth4webapi");
  } catch {
    const { getBuiltinModule } = runInThisContext("process") as NodeJS.Process;
    return getBuiltinModule("node:module").createRequire(import.meta.url)("oauth4webapi");
  }
}
