// Revoked client certificates from revocation lists in files, which are read anew whenever they change.
import type { X509Certificate } from "node:crypto";
import { type Logger, pino } from "pino";
import { z } from "zod";
import { ChangeListeners } from "../config/change-listeners.ts";
import { FileReload } from "../config/file-reload.ts";
import { loggerSchema } from "../config/logger-option.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import type { CertificateRevocationAnswer, CertificateRevocations } from "../tls/certificate-revocations.ts";
import { ListFiles } from "./list-files.ts";
import { listReloads, measureLists } from "./list-metrics.ts";
import { inOneLine, isDatedAhead, RevocationLists } from "./revocation-lists.ts";

export interface CrlFilesOptions {
  /**
   * Files and directories; relative ones start at the working directory. A file has lists in PEM, or one in DER. Of a directory
   * all files are read whose names do not begin with a dot; those with certificates alone are passed over.
   */
  readonly paths: readonly string[];
  /**
   * What becomes of a certificate for which there is no list: one of its chain's issuers has none, or none that its key signed.
   * gRFC A69 calls this undetermined. Default: `"refuse"`.
   */
  readonly undetermined?: "refuse" | "allow" | undefined;
  /** Told of changes, of what cannot be used and of lists that are too old; `false` for nobody. Default: pino to standard output. */
  readonly logger?: Logger | false | undefined;
}

interface CrlFilesSettings {
  readonly paths: readonly string[];
  readonly undetermined: "refuse" | "allow";
  readonly logger?: Logger | false | undefined;
}

/** The shape of `crlFiles`'s options; the only place where its defaults stand. */
export const crlFilesSchema: z.ZodType<CrlFilesSettings> = z.strictObject({
  paths: z
    .array(
      z
        .string({ error: "expected a path" })
        .refine((path) => path.trim() !== "", { error: "the path is empty" }),
      { error: "expected a list of files and directories" },
    )
    .min(1, { error: "expected at least one file or directory" }),
  undetermined: z.enum(["refuse", "allow"]).default("refuse"),
  logger: z.union([loggerSchema, z.literal(false)]).optional(),
});

/**
 * Certificate revocation lists for `tls.crl` of `createSecureServer`: a client whose certificate is on one of them, or has an
 * intermediate that is, gets no connection; open ones are closed, and their calls end, within moments of a list's change.
 *
 * The semantics are gRFC A69's. Each certificate of a client's chain except the root is looked for on the lists of its issuer,
 * whose signature must verify; lists are complete and direct (RFC 5280 section 5). Lists of one issuer that are split by
 * distribution point, or by kind of certificate, count for the certificates that they are for. Delta lists, indirect ones and
 * those with an unknown critical extension are refused, and so are signatures with SHA-1. A list does not end with its
 * `nextUpdate`: what it revoked stays revoked, and the log says once a day that it is old.
 *
 * Files and directories are watched as long as a server uses them. What cannot be used is told once, and the last good list of its
 * issuer stays; so does one that was verified, where an older one takes its file's place. A list that is gone is not asked any more,
 * as long as all others can be read and one is left.
 *
 * Files alone are read: to get lists from their distribution points is another program's part (a cron job, a sidecar). Replace
 * files by renaming. Reading takes about a second for 500,000 entries, during which the process answers nobody.
 *
 * @throws {ConfigError} where a file cannot be read or used at the start: all of them, each with what is wrong.
 * @example
 * tls: { cert: "server.crt", key: "server.key", clientCa: "ca.crt", crl: crlFiles({ paths: ["/etc/orders/crl"] }) }
 */
export function crlFiles(options: CrlFilesOptions): CertificateRevocations {
  const { paths, undetermined, logger } = parseOptions(crlFilesSchema, options, "crlFiles");
  return new CrlFiles(paths, undetermined, logger === false ? undefined : (logger ?? pino()));
}

const dayMs = 24 * 60 * 60 * 1_000;
/** How many problems stand in one line of the log. */
const maxTold = 10;

class CrlFiles implements CertificateRevocations {
  readonly name = "crlFiles";
  readonly #files: ListFiles;
  readonly #undetermined: "refuse" | "allow";
  readonly #logger: Logger | undefined;
  readonly #throttle = new LogThrottle({ periodMs: 60_000 });
  readonly #datesThrottle = new LogThrottle({ periodMs: dayMs });
  readonly #listeners = new ChangeListeners();
  #lists: RevocationLists;
  #roots: readonly X509Certificate[] = [];
  #listening = 0;
  #stopMeasuring: (() => void) | undefined = undefined;
  readonly #reload = new FileReload({
    takeOver: (hadProblem) => this.#takeOver(hadProblem),
    onProblem: (problem) => this.#report(problem),
    onTick: () => this.#tellDates(),
  });

  constructor(paths: readonly string[], undetermined: "refuse" | "allow", logger: Logger | undefined) {
    this.#files = new ListFiles(paths);
    this.#undetermined = undetermined;
    this.#logger = logger;
    const { lists, problems } = this.#files.read();
    const none =
      lists.length === 0 && problems.length === 0
        ? [`there is no revocation list in ${paths.join(", ")}; files in subdirectories are not read`]
        : [];
    const wrong = [...problems, ...none].map((problem) => `crlFiles.paths: ${problem}`);
    if (wrong.length > 0) throw new ConfigError(wrong);
    this.#lists = new RevocationLists([]).merge(lists, true).lists;
    this.#say("info", this.#summary(), "revocation lists are in use");
    this.#tellDates();
  }

  statusOf(chain: readonly X509Certificate[]): CertificateRevocationAnswer {
    const answer = this.#lists.statusOf(chain);
    const allowed = answer.status === "undetermined" && this.#undetermined === "allow";
    return allowed ? { status: "unrevoked", detail: answer.detail } : answer;
  }

  /** What is known before the first client comes: lists in a root's name that it did not sign, and roots without lists. */
  useRoots(roots: readonly X509Certificate[]): void {
    const without = roots.filter((root) => !this.#lists.has(root));
    const forged = without
      .flatMap((root) => this.#lists.inTheNameOf(root))
      // A root that has a new key is there twice.
      .filter(({ list }) => !roots.some((root) => list.isSignedBy(root)));
    if (forged.length > 0)
      throw new ConfigError(
        [...new Set(forged.map(({ path }) => path))].map(
          (path) =>
            `crlFiles.paths: ${path}: has a list in the name of a client CA that did not sign it; take it out`,
        ),
      );
    this.#roots = roots;
    this.#tellMissing();
  }

  #tellMissing(): void {
    const without = this.#roots.filter((root) => !this.#lists.has(root));
    if (without.length === 0) return;
    const line = { client_ca: without.map(({ subject }) => inOneLine(subject)) };
    if (this.#undetermined === "refuse")
      this.#say(
        "error",
        line,
        "there is no revocation list of a client CA; client certificates that it issued are refused",
      );
    else
      this.#say(
        "warn",
        line,
        "there is no revocation list of a client CA; client certificates that it issued are not checked",
      );
  }

  #summary(): object {
    return { lists: this.#lists.all.length, revoked: this.#lists.entries };
  }

  /** The files are watched, and measured, as long as somebody listens: each server, until it is shut down. */
  onChange(listener: () => void): () => void {
    const remove = this.#listeners.add(listener);
    this.#listening += 1;
    if (this.#listening === 1) {
      this.#stopMeasuring = measureLists(() => this.#lists.all);
      // What changed since the files were read is caught up with.
      this.#reload.look();
    }
    let isListening = true;
    return () => {
      if (!isListening) return;
      isListening = false;
      remove();
      this.#listening -= 1;
      if (this.#listening > 0) return;
      this.#reload.stop();
      this.#stopMeasuring?.();
    };
  }

  /** Takes over what can be used, and returns what is wrong with the rest. */
  #takeOver(hadProblem: boolean): string | undefined {
    const before = this.#lists;
    const { lists, problems, watched } = this.#files.read();
    this.#reload.watch(watched);
    // An empty directory is more likely a mount that went wrong than the word that nobody is revoked any more.
    const gone = lists.length === 0 && problems.length === 0 ? ["there is no revocation list left"] : [];
    const merged = before.merge(lists, problems.length === 0 && gone.length === 0);
    this.#lists = merged.lists;
    if (!sameLists(before, merged.lists)) {
      listReloads.taken.value += 1;
      this.#say("info", this.#summary(), "the revocation lists changed; they are now in use");
      this.#tellDates();
      this.#tellMissing();
      this.#listeners.notify();
    }
    const wrong = [...problems, ...gone, ...merged.problems];
    if (wrong.length > 0) return told(wrong);
    if (hadProblem) this.#say("info", {}, "the revocation lists can all be read again");
    return undefined;
  }

  #report(problem: string): void {
    listReloads.refused.value += 1;
    const leftOut = this.#throttle.admit(problem);
    if (leftOut === undefined) return;
    this.#say(
      "warn",
      { problem, left_out: leftOut },
      "some revocation lists cannot be used; the last good ones of their issuers stay in use",
    );
  }

  /** Lists that are too old, or of a clock that is wrong. They are in use all the same. */
  #tellDates(): void {
    const now = Date.now();
    for (const each of this.#lists.all) {
      const { list, path } = each;
      const isOld = list.nextUpdate !== undefined && list.nextUpdate <= now;
      if (!(isOld || isDatedAhead(each)) || this.#datesThrottle.admit(path) === undefined) continue;
      if (isDatedAhead(each))
        this.#say(
          "warn",
          { path, this_update: new Date(list.thisUpdate).toISOString() },
          "a revocation list is dated in the future; check the clock of its issuer, and this machine's",
        );
      else
        this.#say(
          "warn",
          { path, next_update: new Date(list.nextUpdate ?? 0).toISOString() },
          "a revocation list is older than its issuer meant it to become; it stays in use, and what was revoked since is not known",
        );
    }
  }

  /** A logger that throws must end nothing: this runs from timers, and for connections. */
  #say(level: "info" | "warn" | "error", line: object, message: string): void {
    try {
      this.#logger?.[level](line, message);
    } catch {
      // Nothing is left to report it to.
    }
  }
}

function sameLists(before: RevocationLists, after: RevocationLists): boolean {
  const names = ({ all }: RevocationLists): string =>
    all
      .map(({ list }) => list.digest)
      .sort()
      .join(" ");
  return names(before) === names(after);
}

function told(problems: readonly string[]): string {
  const left = problems.length - maxTold;
  return problems.slice(0, maxTold).join("; ") + (left > 0 ? `; and ${left} more` : "");
}
