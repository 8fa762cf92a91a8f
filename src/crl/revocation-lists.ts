// The lists that are in use, by issuer, and what they say of a chain of certificates.
import type { X509Certificate } from "node:crypto";
import { DerError } from "../tls/der.ts";
import type { CertificateList } from "./certificate-list.ts";
import { fieldsOf } from "./issuing-certificate.ts";

/** A list, and the file that it came from. */
export interface ListInFile {
  readonly list: CertificateList;
  readonly path: string;
}

export interface ChainStatus {
  readonly status: "unrevoked" | "revoked" | "undetermined";
  readonly detail: string;
}

/** What became of new lists beside those in use. */
export interface Merged {
  readonly lists: RevocationLists;
  readonly problems: readonly string[];
}

/** Never changed: a reload makes another one. */
export class RevocationLists {
  readonly #lists: readonly ListInFile[];
  readonly #byIssuer: ReadonlyMap<string, readonly ListInFile[]>;

  constructor(lists: readonly ListInFile[]) {
    this.#lists = lists;
    const byIssuer = new Map<string, ListInFile[]>();
    for (const each of lists) {
      const others = byIssuer.get(each.list.issuer);
      if (others === undefined) byIssuer.set(each.list.issuer, [each]);
      else others.push(each);
    }
    this.#byIssuer = byIssuer;
  }

  get all(): readonly ListInFile[] {
    return this.#lists;
  }

  get entries(): number {
    return this.#lists.reduce((sum, { list }) => sum + list.size, 0);
  }

  /**
   * RFC 5280 section 6.3 for the whole chain, the leaf first, its root last: each certificate but the root is looked for on its
   * issuer's lists. Revoked where one of them is on one; undetermined where there is no list for one of them. A list is not too old
   * to be used (gRFC A69): what it revoked stays revoked.
   */
  statusOf(chain: readonly X509Certificate[]): ChainStatus {
    let undetermined: string | undefined;
    for (const [index, certificate] of chain.entries()) {
      const issuer = chain[index + 1];
      if (issuer === undefined) break;
      const fields = fieldsOf(certificate);
      const lists = this.#signedBy(issuer).filter(({ list }) => list.covers(fields));
      if (lists.some(({ list }) => list.revokes(fields.serialNumber)))
        return { status: "revoked", detail: `the certificate ${named(certificate)} is revoked` };
      if (lists.length === 0)
        undetermined ??= `there is no revocation list of ${inOneLine(issuer.subject)} for the certificate ${named(certificate)}`;
    }
    return undetermined === undefined
      ? { status: "unrevoked", detail: "" }
      : { status: "undetermined", detail: undetermined };
  }

  #signedBy(issuer: X509Certificate): readonly ListInFile[] {
    const lists = this.inTheNameOf(issuer);
    if (lists.length === 0 || !fieldsOf(issuer).maySignLists) return [];
    return lists.filter(({ list }) => list.isSignedBy(issuer));
  }

  /** Is there a list that this issuer signed? */
  has(issuer: X509Certificate): boolean {
    return this.#signedBy(issuer).length > 0;
  }

  /** The lists in the name of this issuer, whoever signed them. */
  inTheNameOf(issuer: X509Certificate): readonly ListInFile[] {
    try {
      return this.#byIssuer.get(fieldsOf(issuer).subject) ?? [];
    } catch (error) {
      // OpenSSL reads certificates that are not quite DER. There is no list for them.
      if (error instanceof DerError) return [];
      throw error;
    }
  }

  /**
   * `read`: what the files hold now. `complete`: all could be read; else what they lack may be in one that could not, and stays
   * (gRFC A69, "Directory Provider"). A list that was verified gives way to none that is older, and to none that its key did not
   * sign: that one is in use too, in case its issuer has a new key.
   */
  merge(read: readonly ListInFile[], complete: boolean): Merged {
    const present = new Set(read.map(({ list }) => list.digest));
    const older = new Set<ListInFile>();
    const problems: string[] = [];
    const kept = this.#lists.filter((known) => {
      if (present.has(known.list.digest)) return false;
      const successors = read.filter(({ list }) => list.subject === known.list.subject);
      const signed = successors.filter(({ list }) => known.list.hasKeyOf(list));
      const [first] = signed.length > 0 ? signed : successors;
      if (first === undefined) return !complete;
      // Dated ahead, as by a clock that was wrong, it would keep all good ones out until then.
      if (known.list.verifiedWith === undefined || isDatedAhead(known)) return false;
      if (signed.length === 0) {
        problems.push(`${first.path}: the key that signed the list in use did not sign this one`);
        return true;
      }
      if (signed.some(({ list }) => !list.isOlderThan(known.list))) return false;
      for (const each of signed) older.add(each);
      problems.push(
        `${first.path}: the list (of ${dateOf(first)}) is older than the one in use (of ${dateOf(known)})`,
      );
      return true;
    });
    return { lists: new RevocationLists([...kept, ...read.filter((each) => !older.has(each))]), problems };
  }
}

/** How much clocks may differ. */
const clockToleranceMs = 5 * 60_000;

export function isDatedAhead({ list }: ListInFile): boolean {
  return list.thisUpdate > Date.now() + clockToleranceMs;
}

function dateOf({ list }: ListInFile): string {
  return new Date(list.thisUpdate).toISOString();
}

function named(certificate: X509Certificate): string {
  return `${inOneLine(certificate.subject) || "without a subject"} (serial number ${certificate.serialNumber})`;
}

/** Node writes one part of a name a line. */
export function inOneLine(name: string | undefined): string {
  return (name ?? "").split("\n").join(", ");
}
