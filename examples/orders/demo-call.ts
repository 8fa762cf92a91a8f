// One row of the demo: a call, what must come of it, and how to make it.
import type { AuditEntry, CredentialSource } from "grpc-palisade";
import type { SignOptions, TokenIssuer } from "../../src/testing/token-issuer.ts";
import type { OrdersClient } from "./service.ts";

export interface DemoCall {
  readonly call: string;
  readonly expected: string;
  make(demo: Demo): Promise<string | Seen>;
}

export interface Seen {
  /** Compared with what was expected. */
  readonly result: string;
  /** For the reader alone. */
  readonly remark?: string;
}

/** A line of pino's, as far as the calls look at it. */
export interface LogLine {
  readonly level: number;
  readonly msg?: string;
  readonly request_id?: string;
  /** The failure behind `internal error (id …)`. */
  readonly err?: { readonly message?: string };
}

/** What the calls work with: the one server under attack, and everything around it. */
export interface Demo {
  readonly port: number;
  /** Host and port of the server. */
  readonly target: string;
  readonly issuer: TokenIssuer;
  readonly apiKeys: { readonly good: string; readonly revoked: string };
  /** Errors that nobody caught. Without the chain each of them would have ended the process. */
  readonly uncaught: readonly string[];
  token(claims?: Readonly<Record<string, unknown>>, options?: SignOptions): Promise<string>;
  /** A client over mTLS with these credentials; none where they are left out. */
  client(credentials?: CredentialSource): OrdersClient;
  /** A client with a good token of its own. */
  as(subject: string, role: "customer" | "admin"): OrdersClient;
  /** The audit entry that matches, once it is there. */
  audited(match: (entry: AuditEntry) => boolean): Promise<AuditEntry>;
  /** What the server has logged so far. */
  log(): Promise<readonly LogLine[]>;
  /** The log line that matches, once it is there. */
  logged(match: (line: LogLine) => boolean): Promise<LogLine>;
  /** Closes it at the end. */
  closeLater<T extends { close(): unknown }>(resource: T): T;
}
