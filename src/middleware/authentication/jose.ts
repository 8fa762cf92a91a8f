/**
 * The one place that loads jose, which is an ECMAScript module alone. Every supported Node can `require()` such a module
 * from our CommonJS build; Jest's own `require` cannot, so there Node's takes its place. No second copy of jose is made.
 */
import { runInThisContext } from "node:vm";

type Jose = typeof import("jose", { with: { "resolution-mode": "import" }});

export type JWK = import("jose", { with: { "resolution-mode": "import" }}).JWK;
export type JSONWebKeySet = import("jose", { with: { "resolution-mode": "import" }}).JSONWebKeySet;
export type JWTHeaderParameters = import("jose", { with: {
  "resolution-mode": "import",
}}).JWTHeaderParameters;
export type JWTVerifyGetKey = import("jose", { with: { "resolution-mode": "import" }}).JWTVerifyGetKey;
export type JWTVerifyOptions = import("jose", { with: { "resolution-mode": "import" }}).JWTVerifyOptions;
export type CryptoKey = import("jose", { with: { "resolution-mode": "import" }}).CryptoKey;

export const jose: Jose = loadJose();

function loadJose(): Jose {
  try {
    // Written out, so that bundlers see it.
    return require("jose") as Jose;
  } catch {
    // Jest gives its tests a context, a `process` and a `node:module` of its own. This is Node's own `process`.
    const { getBuiltinModule } = runInThisContext("process") as NodeJS.Process;
    return getBuiltinModule("node:module").createRequire(import.meta.url)("jose") as Jose;
  }
}
