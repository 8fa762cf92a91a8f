/**
 * Which ended calls get a line each in log and audit, and which are counted together. A caller who is refused again and
 * again can write gigabytes of log a day otherwise. In a window of 10 s the first calls of one caller and reason are
 * written one by one; the rest are counted, and one line at the end of the window says how many there were.
 */

import { isHealthProbe } from "../grpc/method.ts";
import { peerKey } from "../grpc/peer-key.ts";
import { texts } from "../grpc/status.ts";
import { boundedText, maxTextLength } from "../observability/redaction.ts";
import type { CallContext } from "./context.ts";
import type { Outcome } from "./middleware.ts";
import { type Principal, principalKey } from "./principal.ts";

const windowMs = 10_000;

/** How much is written one by one in a window, and how many callers and reasons are told apart. */
interface LaneLimits {
  readonly ofEach: number;
  readonly ofAll: number;
  readonly maxKeys: number;
}

/** Callers without a verified identity cost nothing to invent: addresses are many. */
const unidentified: LaneLimits = { ofEach: 10, ofAll: 1_000, maxKeys: 1_000 };
/** What a verified caller was denied is looked for one by one. */
const identified: LaneLimits = { ofEach: 100, ofAll: 10_000, maxKeys: 10_000 };

/** Calls that were not written one by one. */
export interface LeftOut<Line> {
  /** Made of the first of them. */
  readonly line: Line;
  readonly count: number;
  /** When the first and the last of them arrived, in milliseconds since the epoch. */
  readonly firstAt: number;
  readonly lastAt: number;
  /** The id of the last one. */
  readonly lastId: string;
  /** Undefined where they called several. */
  readonly method: string | undefined;
  /** Do they stand for several callers and reasons, because too many came to be told apart? */
  readonly shared: boolean;
}

export interface CallAggregationOptions<Line> {
  /** What is kept of a call for the line at the end of the window. Asked once for each caller and reason. */
  readonly describe: (call: CallContext, outcome: Outcome) => Line;
  /** Writes that line. What it throws is ignored. */
  readonly write: (leftOut: LeftOut<Line>) => void;
}

/** All tables are size-limited, and emptied at the end of each window; filling one makes nobody's calls written again. */
export class CallAggregation<Line> {
  readonly #options: CallAggregationOptions<Line>;
  readonly #lanes: ReadonlyMap<LaneLimits, Lane<Line>> = new Map([
    [unidentified, new Lane<Line>(unidentified)],
    [identified, new Lane<Line>(identified)],
  ]);
  #window: NodeJS.Timeout | undefined = undefined;

  constructor(options: CallAggregationOptions<Line>) {
    this.#options = options;
  }

  /** Is this call to be written by itself? Where not, it is counted. */
  admits(call: CallContext, outcome: Outcome): boolean {
    const limits = limitsOf(call, outcome);
    const lane = limits === undefined ? undefined : this.#lanes.get(limits);
    if (lane === undefined) return true;
    this.#window ??= setTimeout(() => this.#endWindow(), windowMs).unref();
    return lane.admits(call, outcome, this.#options.describe);
  }

  /** Writes what was counted since the window began, or since this was called. */
  flush(): void {
    for (const lane of this.#lanes.values()) {
      for (const leftOut of lane.takeLeftOut()) {
        try {
          this.#options.write(leftOut);
        } catch {
          // A logger that throws has nobody left to tell, and this runs in a timer.
        }
      }
    }
  }

  #endWindow(): void {
    this.#window = undefined;
    this.flush();
    for (const lane of this.#lanes.values()) lane.clear();
  }
}

/**
 * Undefined where the call is always written: handlers answered it, or a verified caller was not refused. Of a caller
 * without identity everything else is counted, what ended before anybody was verified too, and health probes, which no
 * rate limit holds up.
 */
function limitsOf({ principal, method }: CallContext, { endedBy }: Outcome): LaneLimits | undefined {
  const refused = endedBy === "layer";
  if (principal !== undefined && principal.kind !== "anonymous") return refused ? identified : undefined;
  if (refused || endedBy === "transport" || isHealthProbe(method)) return unidentified;
  return endedBy !== "handler" && principal === undefined ? unidentified : undefined;
}

class Counted<Line> {
  /** Written one by one. */
  written = 0;
  line: Line | undefined = undefined;
  count = 0;
  firstAt = 0;
  lastAt = 0;
  lastId = "";
  method: string | undefined = undefined;

  add(call: CallContext, describe: () => Line): void {
    if (this.count === 0) {
      this.line = describe();
      this.firstAt = call.startedAt;
      this.method = call.method.path;
    }
    this.count += 1;
    this.lastAt = call.startedAt;
    this.lastId = call.id;
    if (this.method !== call.method.path) this.method = undefined;
  }
}

class Lane<Line> {
  readonly #limits: LaneLimits;
  readonly #counted: Map<string, Counted<Line>> = new Map();
  /** Of those that find no place, by what is ours to tell apart. */
  readonly #others: Map<string, Counted<Line>> = new Map();
  #written = 0;

  constructor(limits: LaneLimits) {
    this.#limits = limits;
  }

  admits(call: CallContext, outcome: Outcome, describe: CallAggregationOptions<Line>["describe"]): boolean {
    const key = keyOf(call, outcome);
    let counted = this.#counted.get(key);
    if (counted === undefined) {
      if (this.#counted.size >= this.#limits.maxKeys) {
        countIn(this.#others, reasonOf(outcome)).add(call, () => describe(call, outcome));
        return false;
      }
      counted = countIn(this.#counted, key);
    }
    if (counted.written < this.#limits.ofEach && this.#written < this.#limits.ofAll) {
      counted.written += 1;
      this.#written += 1;
      return true;
    }
    counted.add(call, () => describe(call, outcome));
    return false;
  }

  takeLeftOut(): readonly LeftOut<Line>[] {
    return [...taken(this.#counted, { shared: false }), ...taken(this.#others, { shared: true })];
  }

  clear(): void {
    this.#counted.clear();
    this.#others.clear();
    this.#written = 0;
  }
}

function countIn<Line>(table: Map<string, Counted<Line>>, key: string): Counted<Line> {
  let counted = table.get(key);
  if (counted === undefined) {
    counted = new Counted();
    table.set(key, counted);
  }
  return counted;
}

function taken<Line>(
  table: ReadonlyMap<string, Counted<Line>>,
  { shared }: { readonly shared: boolean },
): readonly LeftOut<Line>[] {
  const left: LeftOut<Line>[] = [];
  for (const counted of table.values()) {
    const { line, count, firstAt, lastAt, lastId, method } = counted;
    if (line === undefined) continue;
    left.push({ line, count, firstAt, lastAt, lastId, method, shared });
    counted.line = undefined;
    counted.count = 0;
  }
  return left;
}

const publicTexts: ReadonlySet<string> = new Set(Object.values(texts));

/**
 * Who, what, and why: the method, where there is one, the middleware, the code, one of our texts, and the rule that denied.
 * Nothing that a caller words.
 */
function keyOf(call: CallContext, outcome: Outcome): string {
  const { principal, actor, peer, method, decision } = call;
  const caller =
    principal === undefined || principal.kind === "anonymous" ? peerKey(peer) : callerKey(principal);
  const who = actor === undefined ? caller : `${caller} for ${callerKey(actor)}`;
  const text = publicTexts.has(outcome.details) ? outcome.details : "";
  const rule = decision?.effect === "deny" ? boundedText(decision.rule, maxTextLength) : "";
  return `${who} ${method.known ? method.path : ""} ${reasonOf(outcome)} ${text} ${rule}`;
}

/** One of a few. */
function reasonOf({ endedBy, layer, code }: Outcome): string {
  return `${endedBy} ${layer ?? ""} ${code}`;
}

/** As long as a token may be, where it is not cut. Two that differ further on are counted together. */
function callerKey(principal: Principal): string {
  return boundedText(principalKey(principal), 2 * maxTextLength);
}
