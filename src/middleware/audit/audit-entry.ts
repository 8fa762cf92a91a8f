// The audit record of one call: who did what, what was decided, how it ended. Never a payload, never a secret.

import type { LeftOut } from "../../chain/call-aggregation.ts";
import type { CallContext } from "../../chain/context.ts";
import { dryRunRefusalOf } from "../../chain/dry-run.ts";
import type { Outcome } from "../../chain/middleware.ts";
import type { Principal } from "../../chain/principal.ts";
import { statusName, texts } from "../../grpc/status.ts";
import { roundedMs } from "../../observability/milliseconds.ts";
import { boundedText, maxTextLength, redactSecrets } from "../../observability/redaction.ts";

/** A verified identity, without its claims, roles and permissions. */
export interface AuditParty {
  readonly subject: string;
  readonly kind: Principal["kind"];
  /** How it was verified: `jwt`, `api-key`, `mtls`, … */
  readonly scheme: string;
  readonly issuer?: string;
  readonly tenant?: string;
}

/** Texts in an entry are at most 256 UTF-16 units long. */
export interface AuditEntry {
  /** When the call arrived: ISO 8601, UTC. */
  readonly time: string;
  /** The call's id, as in the log line (`call_id`). A batch that was written twice after a failure repeats its ids. */
  readonly id: string;
  /** Null where nobody was verified. */
  readonly caller: AuditParty | null;
  /** The application that spoke for the caller. */
  readonly actor?: AuditParty;
  /** `/package.Service/Method` */
  readonly method: string;
  /** The address of the caller's end of the connection. */
  readonly peer: string;
  /** The gRPC status by name. */
  readonly status: string;
  readonly durationMs: number;
  /** `deny` for every call that a middleware refused; `none` where nobody decided (a health probe). */
  readonly decision: "allow" | "deny" | "none";
  /** The authorization rule that decided, or the name of the middleware that refused; null where nobody decided. */
  readonly rule: string | null;
  /** Present where the denial was not enforced (`enforce` of the server's options): `status` is what really happened. */
  readonly dryRun?: true;
  /** Why: the authorizer's reason, or what the caller was told where that is one of our fixed texts. */
  readonly reason?: string;
  /** The authorizer's id of its decision, where it keeps a log of its own. */
  readonly decisionId?: string;
  readonly endedBy: Outcome["endedBy"];
  /** Present where the status did not reach the caller. */
  readonly delivered?: false;
  readonly traceId?: string;
  /**
   * Present on an entry that stands for many calls that ended alike: how many. `time` and `id` are those of the last of
   * them, and what else it says is true of one of them; `other` stands for what was no longer told apart.
   */
  readonly count?: number;
  /** Of an entry that stands for many calls: when the first arrived. */
  readonly firstTime?: string;
  /** Of an entry that stands for many calls: when the last arrived. */
  readonly lastTime?: string;
}

/** Which of the two lanes an entry waits in: those of verified callers cannot be pushed out by anybody else's. */
export type AuditLane = "identified" | "anonymous";

/** The texts that callers are told: fixed ones, so that none carries a part of a payload. */
const publicTexts: ReadonlySet<string> = new Set(Object.values(texts));

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

export function auditEntry(call: CallContext, outcome: Outcome): AuditEntry {
  const { method, principal, actor, traceId } = call;
  const entry: Writable<AuditEntry> = {
    time: isoTime(call.startedAt),
    id: call.id,
    caller: principal === undefined ? null : party(principal),
    method: method.known ? method.path : redactSecrets(method.path, maxTextLength),
    peer: call.peer.address,
    status: statusName(outcome.code),
    durationMs: roundedMs(outcome.durationMs),
    decision: "none",
    rule: null,
    endedBy: outcome.endedBy,
  };
  decide(entry, call, outcome);
  if (actor !== undefined) entry.actor = party(actor);
  if (!outcome.delivered) entry.delivered = false;
  if (traceId !== undefined) entry.traceId = traceId;
  return entry;
}

function decide(entry: Writable<AuditEntry>, call: CallContext, outcome: Outcome): void {
  const { decision } = call;
  const refusal = outcome.endedBy === "layer" ? undefined : dryRunRefusalOf(call);
  if (refusal !== undefined) {
    entry.dryRun = true;
    if (decision?.effect !== "deny") {
      entry.decision = "deny";
      entry.rule = refusal.layer;
      entry.reason = refusal.details;
      return;
    }
  }
  if (outcome.endedBy === "layer" && decision?.effect !== "deny") {
    // Allowed or not yet decided, and then refused by a middleware that keeps no rules.
    entry.decision = "deny";
    entry.rule = boundedText(outcome.layer ?? "unknown", maxTextLength);
    if (publicTexts.has(outcome.details)) entry.reason = outcome.details;
    return;
  }
  if (decision === undefined) return;
  entry.decision = decision.effect;
  entry.rule = boundedText(decision.rule, maxTextLength);
  if (decision.reason !== undefined) entry.reason = redactSecrets(decision.reason, maxTextLength);
  if (decision.id !== undefined) entry.decisionId = boundedText(decision.id, maxTextLength);
}

/**
 * Does the policy ask that there be no record of this call? Only of what it decided itself: a call that it allowed and another
 * middleware refused has a record.
 */
export function isLeftOut(call: CallContext, { endedBy, layer }: Outcome): boolean {
  const { decision } = call;
  if (decision?.audit !== false) return false;
  if (endedBy === "layer") return layer === "authorization" && decision.effect === "deny";
  return decision.effect === "deny" || dryRunRefusalOf(call) === undefined;
}

function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function party({ subject, kind, scheme, issuer, tenant }: Principal): AuditParty {
  const made: Writable<AuditParty> = {
    subject: boundedText(subject, maxTextLength),
    kind,
    scheme: boundedText(scheme, maxTextLength),
  };
  if (issuer !== undefined) made.issuer = boundedText(issuer, maxTextLength);
  if (tenant !== undefined) made.tenant = boundedText(tenant, maxTextLength);
  return Object.freeze(made);
}

/** Verified callers who are not told apart. Their entry waits in their lane. */
const otherCaller: AuditParty = Object.freeze({ subject: "other", kind: "service", scheme: "other" });

/** One entry for calls that ended alike. */
export function aggregatedEntry({
  line,
  count,
  firstAt,
  lastAt,
  lastId,
  method,
  shared,
}: LeftOut<AuditEntry>): AuditEntry {
  if (count === 1) return line;
  const { actor, traceId, decisionId, ...entry } = line;
  const lastTime = isoTime(lastAt);
  return {
    ...entry,
    ...(shared
      ? { caller: laneOf(entry) === "identified" ? otherCaller : null, peer: "other", rule: "other" }
      : {}),
    method: method === undefined ? "other" : entry.method,
    time: lastTime,
    id: lastId,
    count,
    firstTime: isoTime(firstAt),
    lastTime,
  };
}

export function laneOf(entry: AuditEntry): AuditLane {
  return /* protection: audit-lanes */ entry.caller === null || entry.caller.kind === "anonymous"
    ? "anonymous"
    : "identified";
}

/** How many calls an entry stands for. */
export function callsIn(entry: AuditEntry): number {
  return entry.count ?? 1;
}
