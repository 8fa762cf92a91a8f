// Takes over certificates, keys and roots when their files change. What cannot be used is refused and said once;
// what was last good stays in use.

import { FileWatch } from "../config/file-watch.ts";
import { ConfigError } from "../grpc/errors.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import { type CertificateInUse, ExpiryWatch } from "./certificate-expiry.ts";
import { type CertificateReporting, countReload, sayInfo, sayWarning } from "./certificate-reporting.ts";

/** What one side of a connection has of files: loaded, compared and put to use as a whole. */
export interface ReloadedCertificates<T> {
  readonly role: "server" | "client";
  /** The files to watch; none where everything was given as Buffers, or reloading is off. */
  readonly paths: readonly string[];
  /** What was loaded at the start. */
  readonly first: T;
  /** Reads and checks everything anew. Throws `ConfigError` where it cannot be used. */
  load(): T;
  same(a: T, b: T): boolean;
  /** Puts it to use for new connections. */
  take(loaded: T): void;
  certificatesIn(loaded: T): readonly CertificateInUse[];
}

/** A change that cannot be used is looked at once more before it is said: a file may still be being written. */
const secondLookMs = 400;

export class CertificateReload<T> {
  readonly #what: ReloadedCertificates<T>;
  readonly #reporting: CertificateReporting;
  readonly #expiry: ExpiryWatch;
  readonly #throttle: LogThrottle = new LogThrottle({ periodMs: 60_000 });
  #current: T;
  #watch: FileWatch | undefined = undefined;
  #secondLook: NodeJS.Timeout | undefined = undefined;
  #problem: string | undefined = undefined;

  constructor(what: ReloadedCertificates<T>, reporting: CertificateReporting) {
    this.#what = what;
    this.#reporting = reporting;
    this.#current = what.first;
    this.#expiry = new ExpiryWatch(reporting);
  }

  get current(): T {
    return this.#current;
  }

  /** Watches from now on, and catches up with what changed since the files were read. */
  start(): void {
    if (this.#watch !== undefined) return;
    this.#watch = new FileWatch({
      paths: this.#what.paths,
      onChange: () => this.#look(),
      onTick: () => this.#expiry.check(),
    });
    this.#expiry.use(this.#what.certificatesIn(this.#current));
  }

  stop(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    clearTimeout(this.#secondLook);
    this.#secondLook = undefined;
    this.#expiry.stop();
  }

  #look(): void {
    clearTimeout(this.#secondLook);
    this.#secondLook = undefined;
    const problem = this.#tryToTake();
    if (problem === undefined || problem === this.#problem || this.#watch === undefined) return;
    this.#secondLook = setTimeout(() => {
      const still = this.#tryToTake();
      if (still !== undefined) this.#refuse(still);
    }, secondLookMs).unref();
  }

  /** What is wrong with the files as they are, or undefined where they are in use now. */
  #tryToTake(): string | undefined {
    try {
      const loaded = this.#what.load();
      const changed = !this.#what.same(loaded, this.#current);
      if (changed) this.#what.take(loaded);
      if (changed) this.#taken(loaded);
      else if (this.#problem !== undefined) this.#recovered();
      return undefined;
    } catch (error) {
      // The text of any other error may quote what it was about.
      return error instanceof ConfigError ? error.message : "the files cannot be used";
    }
  }

  #taken(loaded: T): void {
    this.#current = loaded;
    this.#problem = undefined;
    this.#expiry.use(this.#what.certificatesIn(loaded));
    countReload(this.#reporting, this.#what.role, "taken");
    const [own] = this.#what.certificatesIn(loaded);
    sayInfo(
      this.#reporting,
      {
        role: this.#what.role,
        ...(own === undefined
          ? {}
          : { fingerprint256: own.certificate.fingerprint256, valid_to: own.certificate.validTo }),
      },
      "certificates changed; new connections use the new ones",
    );
  }

  #recovered(): void {
    this.#problem = undefined;
    sayInfo(
      this.#reporting,
      { role: this.#what.role },
      "the certificate files can be used again; they are the ones in use",
    );
  }

  #refuse(problem: string): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    countReload(this.#reporting, this.#what.role, "refused");
    const leftOut = this.#throttle.admit(problem);
    if (leftOut === undefined) return;
    sayWarning(
      this.#reporting,
      { role: this.#what.role, problem, left_out: leftOut },
      "changed certificates were refused; the last good ones stay in use",
      problem,
    );
  }
}
