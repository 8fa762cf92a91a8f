/**
 * How many unproven credentials of one peer are verified at once, and which calls wait until theirs may be.
 *
 * A credential takes one place, however many calls bring it at the same time. It keeps the place until its authenticator
 * settles, whatever became of the calls, so that cancelling frees nothing; one that does not settle gives its place back
 * after a while. Calls wait in order, and leave when they end.
 */
import { type CallContext, ContextKey } from "../../chain/context.ts";

/** Under what a call is counted. */
export interface CredentialKeys {
  /** Whose points the credential costs if it is bad. */
  readonly limit: string;
  /** The credential itself: a digest. */
  readonly credential: string;
}

/** What becomes of a call before its credential is verified. */
export type Decision = "pass" | "wait" | { readonly refusedForMs: number };

export interface PlaceRules {
  /** Asked again for a waiting call whenever something changed. */
  decide(call: CallContext, keys: CredentialKeys): Decision;
  /** A proven credential takes no place. */
  isProven(call: CallContext, keys: CredentialKeys): boolean;
  /** What a waiting call is told. */
  refusal(refusedForMs: number): Error;
}

/** Unproven credentials that are verified at once, over all peers. */
const maxVerifying = 10_000;
/** Calls that wait, over all peers, and of one. */
const maxWaiting = 10_000;
const maxWaitingOfOne = 1_000;
/** Twice what a caller waits for its verdict by default: an authenticator that takes longer is treated as stuck. */
const maxVerificationMs = 10_000;
/** For how long a call is refused that finds no room. */
const fullMs = 1_000;

/** One credential whose verification is under way. */
export class Verification {
  readonly line: Line;
  readonly keys: CredentialKeys;
  readonly takesPlace: boolean;
  calls = 0;
  /** Was it found to be bad, and counted? Every further call of this verification is the same guess. */
  counted = false;
  timer: NodeJS.Timeout | undefined = undefined;

  constructor(line: Line, keys: CredentialKeys, takesPlace: boolean) {
    this.line = line;
    this.keys = keys;
    this.takesPlace = takesPlace;
  }
}

interface Part {
  readonly verification: Verification;
  /** Was the authenticator asked? */
  begun: boolean;
}

interface Waiter {
  readonly call: CallContext;
  readonly keys: CredentialKeys;
  resolve(): void;
  reject(error: Error): void;
}

/** What one peer has under way and waiting. Exists only while there is something. */
class Line {
  readonly verifying: Map<string, Verification> = new Map();
  taken = 0;
  /** By credential, in the order in which the first call of each came. */
  readonly #waiting: Map<string, Set<Waiter>> = new Map();
  waiting = 0;

  get isEmpty(): boolean {
    return this.waiting === 0 && this.verifying.size === 0;
  }

  /** Does no other credential wait before this one? */
  isNext(credential: string): boolean {
    const [first] = this.#waiting.keys();
    return first === undefined || first === credential;
  }

  *waiters(): Iterable<Waiter> {
    for (const group of this.#waiting.values()) yield* group;
  }

  add(waiter: Waiter): void {
    const { credential } = waiter.keys;
    const group = this.#waiting.get(credential);
    if (group === undefined) this.#waiting.set(credential, new Set([waiter]));
    else group.add(waiter);
    this.waiting += 1;
  }

  /** False where it waits no more. */
  remove(waiter: Waiter): boolean {
    const { credential } = waiter.keys;
    const group = this.#waiting.get(credential);
    if (group?.delete(waiter) !== true) return false;
    if (group.size === 0) this.#waiting.delete(credential);
    this.waiting -= 1;
    return true;
  }
}

export class VerificationPlaces {
  readonly #rules: PlaceRules;
  readonly #lines: Map<string, Line> = new Map();
  /** Each instance has its own: two on one server do not take each other's. */
  readonly #part: ContextKey<Part | undefined> = new ContextKey("failed-authentication.verification");
  #taken = 0;
  #waiting = 0;

  constructor(rules: PlaceRules) {
    this.#rules = rules;
  }

  /** Places that are taken, over all peers. */
  get taken(): number {
    return this.#taken;
  }

  /** Peers that have anything under way or waiting. */
  get size(): number {
    return this.#lines.size;
  }

  /** May this credential be one of `places` at once? */
  among(places: number, { limit, credential }: CredentialKeys): Decision {
    const line = this.#lines.get(limit);
    if (line?.verifying.has(credential) === true) return "pass";
    if (this.#taken >= maxVerifying) return { refusedForMs: fullMs };
    if (line === undefined) return "pass";
    return line.taken < places && line.isNext(credential) ? "pass" : "wait";
  }

  /** Resolves when the call's credential may be verified. Rejects with the refusal. */
  wait(call: CallContext, keys: CredentialKeys): Promise<void> {
    // It ended while a store was asked: nobody would take it out of the line.
    if (call.signal.aborted) return Promise.resolve();
    const line = this.#lineOf(keys.limit);
    if (line.waiting >= maxWaitingOfOne || this.#waiting >= maxWaiting) throw this.#rules.refusal(fullMs);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { call, keys, resolve, reject };
      line.add(waiter);
      this.#waiting += 1;
      call.signal.addEventListener("abort", () => this.#leave(waiter), { once: true });
    });
  }

  /** The call's authenticator was asked and has not answered yet. */
  begin(call: CallContext, keys: CredentialKeys): void {
    const part = call.get(this.#part);
    if (part !== undefined) part.begun = true;
    else this.#enter(call, keys, true);
  }

  /** The call's authenticator settled. What it had a part in, if in anything. */
  end(call: CallContext): Verification | undefined {
    const part = call.get(this.#part);
    if (part === undefined) return undefined;
    call.set(this.#part, undefined);
    this.#release(part.verification);
    return part.verification;
  }

  /** Its credential is known to be good or bad: no other call joins it, and its place is free. */
  close(verification: Verification): void {
    const { line, keys, takesPlace } = verification;
    if (line.verifying.get(keys.credential) !== verification) return;
    clearTimeout(verification.timer);
    line.verifying.delete(keys.credential);
    if (takesPlace) {
      line.taken -= 1;
      this.#taken -= 1;
    }
    this.#tidy(keys.limit, line);
  }

  /** Lets on who may go on, in order. */
  serve(limit: string): void {
    const line = this.#lines.get(limit);
    if (line === undefined) return;
    for (const waiter of line.waiters()) {
      const decision = this.#rules.decide(waiter.call, waiter.keys);
      if (decision === "wait") break;
      this.#answer(line, waiter, decision);
    }
    this.#tidy(limit, line);
  }

  /** A credential was bad: refuses whoever waits in vain, wherever in the line. */
  refuseWaiting(limit: string): void {
    const line = this.#lines.get(limit);
    if (line === undefined) return;
    for (const waiter of line.waiters()) {
      const decision = this.#rules.decide(waiter.call, waiter.keys);
      if (typeof decision === "object") this.#answer(line, waiter, decision);
    }
    this.#tidy(limit, line);
  }

  #answer(line: Line, waiter: Waiter, decision: Exclude<Decision, "wait">): void {
    line.remove(waiter);
    this.#waiting -= 1;
    if (decision === "pass") {
      // At once, because others come before the call goes on.
      this.#enter(waiter.call, waiter.keys, false);
      waiter.resolve();
    } else {
      waiter.reject(this.#rules.refusal(decision.refusedForMs));
    }
  }

  /** The call ended: while it waited, or after it was let on and before its authenticator was asked. */
  #leave(waiter: Waiter): void {
    const { limit } = waiter.keys;
    const line = this.#lines.get(limit);
    if (line?.remove(waiter) === true) {
      this.#waiting -= 1;
      this.#tidy(limit, line);
      return;
    }
    if (waiter.call.get(this.#part)?.begun !== false) return;
    this.end(waiter.call);
    this.serve(limit);
  }

  #enter(call: CallContext, keys: CredentialKeys, begun: boolean): void {
    const takesPlace = !this.#rules.isProven(call, keys);
    const line = this.#lineOf(keys.limit);
    let verification = line.verifying.get(keys.credential);
    if (verification === undefined) {
      // Only where nothing is enforced does a call get here that finds no room.
      if (takesPlace && this.#taken >= maxVerifying) {
        this.#tidy(keys.limit, line);
        return;
      }
      verification = new Verification(line, keys, takesPlace);
      verification.timer = setTimeout(forget, maxVerificationMs, this, verification).unref();
      line.verifying.set(keys.credential, verification);
      if (takesPlace) {
        line.taken += 1;
        this.#taken += 1;
      }
    }
    verification.calls += 1;
    call.set(this.#part, { verification, begun });
  }

  #release(verification: Verification): void {
    verification.calls -= 1;
    if (verification.calls === 0) this.close(verification);
  }

  #lineOf(limit: string): Line {
    const known = this.#lines.get(limit);
    if (known !== undefined) return known;
    const line = new Line();
    this.#lines.set(limit, line);
    return line;
  }

  #tidy(limit: string, line: Line): void {
    if (line.isEmpty && this.#lines.get(limit) === line) this.#lines.delete(limit);
  }
}

function forget(places: VerificationPlaces, verification: Verification): void {
  places.close(verification);
  places.serve(verification.keys.limit);
}
