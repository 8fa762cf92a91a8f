// Takes over certificates, keys and roots when their files change. What cannot be used is refused and said once;
// what was last good stays in use.
import { FileReload } from "../config/file-reload.ts";
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

export class CertificateReload<T> {
  readonly #what: ReloadedCertificates<T>;
  readonly #reporting: CertificateReporting;
  readonly #expiry: ExpiryWatch;
  readonly #throttle: LogThrottle = new LogThrottle({ periodMs: 60_000 });
  #current: T;
  readonly #reload: FileReload;

  constructor(what: ReloadedCertificates<T>, reporting: CertificateReporting) {
    this.#what = what;
    this.#reporting = reporting;
    this.#current = what.first;
    this.#expiry = new ExpiryWatch(reporting);
    this.#reload = new FileReload({
      takeOver: (hadProblem) => this.#tryToTake(hadProblem),
      onProblem: (problem) => this.#refuse(problem),
      onTick: () => this.#expiry.check(),
    });
  }

  get current(): T {
    return this.#current;
  }

  /** Watches from now on, and catches up with what changed since the files were read. */
  start(): void {
    if (this.#reload.isWatching) return;
    this.#reload.watch(this.#what.paths);
    this.#expiry.use(this.#what.certificatesIn(this.#current));
  }

  stop(): void {
    this.#reload.stop();
    this.#expiry.stop();
  }

  /** What is wrong with the files as they are, or undefined where they are in use now. */
  #tryToTake(hadProblem: boolean): string | undefined {
    try {
      const loaded = this.#what.load();
      const changed = !this.#what.same(loaded, this.#current);
      if (changed) this.#what.take(loaded);
      if (changed) this.#taken(loaded);
      else if (hadProblem) this.#recovered();
      return undefined;
    } catch (error) {
      // The text of any other error may quote what it was about.
      return error instanceof ConfigError ? error.message : "the files cannot be used";
    }
  }

  #taken(loaded: T): void {
    this.#current = loaded;
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
    sayInfo(
      this.#reporting,
      { role: this.#what.role },
      "the certificate files can be used again; they are the ones in use",
    );
  }

  #refuse(problem: string): void {
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
