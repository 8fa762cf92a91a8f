// What the rules of `policies/` say of calls: the same by an OPA server and compiled.

export interface PolicyRow {
  /** Below `test/authz`. */
  readonly rule: string;
  /** The caller's. */
  readonly role: "caller" | "other";
  readonly expected: string;
}

export const allowed = "OK OK";
export const denied = "PERMISSION_DENIED permission denied";
export const unavailable = "UNAVAILABLE temporarily unavailable";

/** Asked with the header `x-region: eu`, by a unary call of ada with the request id r-1. */
export const policyRows: readonly PolicyRow[] = [
  { rule: "allow", role: "caller", expected: allowed },
  { rule: "allow", role: "other", expected: denied },
  { rule: "decision", role: "caller", expected: allowed },
  { rule: "decision", role: "other", expected: denied },
  { rule: "whole", role: "caller", expected: allowed },
  { rule: "text", role: "caller", expected: denied },
  { rule: "number", role: "caller", expected: denied },
  { rule: "allowed", role: "caller", expected: denied },
  // There is no data for it: it is undefined.
  { rule: "from_data", role: "caller", expected: denied },
  { rule: "conflict", role: "caller", expected: unavailable },
];

export const policyMetadata = { "x-region": "eu", "x-request-id": "r-1" };
