/**
 * Protections, and the tests that must notice when one is out. Each has a marker in the sources, `protection: <id>`; what
 * stands behind it is replaced by `instead`, which names nothing, so that no rename breaks it. At most 50: the ones without which
 * a caller gets in, a process ends, a secret leaves or a table grows. Every other protection has its tests, and no row.
 */
export interface Protection {
  readonly requirement: string;
  readonly id: string;
  /** What takes the place of the marked statement, element, property or expression; empty where it is just left out. */
  readonly instead: string;
  readonly tests: readonly string[];
}

type Row = readonly [requirement: string, id: string, instead: string, ...tests: readonly string[]];

const rows: readonly Row[] = [
  // What a call passes.
  ["U1", "audit", "", "server/observability"],
  ["L5", "metadata-limit", "", "server/public-texts"],
  ["L6", "deadline", "", "server/public-texts"],
  ["L1", "peer-rate-limit", "", "server/public-texts"],
  ["L8", "failed-authentication", "", "server/failed-authentication"],
  ["L2", "principal-limits", "", "server/public-texts"],
  ["Z1", "authorization", "", "server/public-texts"],
  ["L7", "validation", "", "server/validation"],
  // How it is checked, and how it ends.
  ["C12", "late-answers", "false", "chain/checking"],
  ["C12", "check-timeout", "2147483647", "chain/checking"],
  ["C13", "held-handler", "true", "chain/checking"],
  ["N3", "unfinished-requests", "", "transport/server-call"],
  ["C11", "refused-streams", "", "chain/released"],
  ["C3", "listener-rejections", "", "chain/crash/crash-matrix"],
  ["C3", "guarded-emit", "", "chain/crash/crash-matrix"],
  ["C5", "clean-metadata", "return arguments[0];", "chain/crash/crash-matrix"],
  ["C8", "unknown-methods", "false", "chain/unknown-method"],
  ["A10", "health-exactly", "true", "server/authentication"],
  ["L4", "message-size", "Infinity", "server/public-texts"],
  ["L10", "limiter-bound", "false", "middleware/rate-limit/memory-rate-limiter"],
  ["Z10", "replaced-policy", "false", "server/replaced-policy"],
  // Who calls.
  [
    "A1",
    "signature",
    '({ payload: JSON.parse(atob(arguments[0].split(".")[1])) })',
    "middleware/authentication/jwt",
  ],
  ["A1", "algorithms", "...{}", "middleware/authentication/jwt"],
  ["A1", "audience", "...{}", "server/authentication"],
  ["A1", "expiry", "", "middleware/authentication/jwt"],
  ["A2", "key-still-there", "false", "middleware/authentication/jwks"],
  ["A2", "issuer-certificate", "false", "middleware/authentication/issuer-request"],
  ["A3", "revoked-key", "false", "middleware/authentication/api-key"],
  ["A6", "unclaimed-credentials", "", "server/authentication"],
  ["A7", "certificate-bound", "", "server/identity"],
  ["A9", "unproven-identity", "", "server/authentication"],
  ["A12", "end-with-credential", "", "server/identity"],
  ["L8", "guesses-at-once", "", "server/login-attacks"],
  // What a caller may do.
  ["Z1", "only-allow-allows", "false", "middleware/authorization/authorization"],
  ["Z4", "when", "true", "server/owner-rules"],
  ["O2", "reflection-roles", "true", "server/reflection"],
  ["O2", "built-in-rules", "false", "server/dry-run"],
  // Connections.
  ["L1", "configured-proxies", "", "server/forwarded-peer"],
  ["L3", "pings", "false", "server/pings"],
  ["L5", "header-cap", "", "server/limits"],
  ["N2", "content-type", "true", "transport/refused-below"],
  ["T1", "tls-version", '"TLSv1.2"', "tls/server-credentials"],
  ["T2", "client-certificate", "false", "tls/server-credentials"],
  ["T2", "unverified-certificate", "false", "server/tls"],
  ["T3", "server-certificate", "false", "tls/client-credentials"],
  ["T6", "loopback-only", "() => true", "server/plaintext"],
  ["T8", "mesh-peers", "true", "server/plaintext"],
  // What is written down.
  ["U2", "audit-lanes", '"identified"', "middleware/audit/audit-queue"],
  ["U4", "redaction", "", "observability/redaction"],
  // The client.
  ["K2", "plaintext-channel", "true", "client/secure-client"],
];

export const protections: readonly Protection[] = rows.map(([requirement, id, instead, ...tests]) => ({
  requirement,
  id,
  instead,
  tests: tests.map((test) => `test/${test}.test.ts`),
}));
