// The lists that are in use, by issuer, and what they say of a chain of certificates.
import type { X509Certificate } from "node:crypto";
import type { CertificateList } from "./certificate-list.ts";
import { type CertificateFields, fieldsOf } from "./issuing-certificate.ts";

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
    this.#byIssuer = grouped(lists, ({ list }) => list.issuer);
  }

  get all(): readonly ListInFile[] {
    return this.#lists;
  }

  get entries(): number {
    return this.#lists.reduce((sum, { list }) => sum + list.size, 0);
  }

  /**
   * RFC 5280 section 6.3 for the whole chain, the leaf first, its root last: each certificate but the root is looked for on its
   * issuer's lists. Revoked where one of them is; undetermined where there is no list for one of them. A list is not too old to
   * be used (gRFC A69): what it revoked stays revoked.
   */
  statusOf(chain: readonly X509Certificate[]): ChainStatus {
    let undetermined: string | undefined;
    for (const [index, certificate] of chain.entries()) {
      const issuer = chain[index + 1];
      if (issuer === undefined) break;
      const fields = fieldsOf(certificate);
      const lists = this.#usable(fields, issuer);
      if (lists.some(({ list }) => list.revokes(fields.serialNumber)))
        return { status: "revoked", detail: `the certificate ${named(certificate)} is revoked` };
      if (lists.length === 0)
        undetermined ??= `there is no revocation list of ${inOneLine(issuer.subject)} for the certificate ${named(certificate)}`;
    }
    return undetermined === undefined
      ? { status: "unrevoked", detail: "" }
      : { status: "undetermined", detail: undetermined };
  }

  /** Lists of this issuer, signed by its key, that speak of such certificates. */
  #usable(certificate: CertificateFields, issuer: X509Certificate): readonly ListInFile[] {
    const { subject, maySignLists } = fieldsOf(issuer);
    if (!maySignLists) return [];
    const lists = this.#byIssuer.get(subject) ?? [];
    return lists.filter(({ list }) => list.covers(certificate) && list.isSignedBy(issuer));
  }

  /** The lists in the name of this issuer which it did not sign. */
  notSignedBy(issuer: X509Certificate): readonly ListInFile[] {
    const lists = this.#byIssuer.get(fieldsOf(issuer).subject) ?? [];
    // Where one is signed, the others are of another key of the same name.
    return lists.some(({ list }) => list.isSignedBy(issuer)) ? [] : lists;
  }

  has(issuer: X509Certificate): boolean {
    return this.#byIssuer.has(fieldsOf(issuer).subject);
  }

  /**
   * `read`: what the files hold now. `complete`: all could be read; else what they lack may be in one that could not, and stays
   * (gRFC A69, "Directory Provider").
   */
  merge(read: readonly ListInFile[], complete: boolean): Merged {
    const problems: string[] = [];
    const lists: ListInFile[] = [];
    const before = grouped(this.#lists, ({ list }) => list.subject);
    for (const fresh of newest(read)) {
      const { subject } = fresh.list;
      const kept = (before.get(subject) ?? []).filter((known) => staysBeside(known, fresh));
      before.delete(subject);
      const isOlder = kept.some((known) => fresh.list.isOlderThan(known.list));
      if (isOlder) problems.push(`${fresh.path}: the list is older than the one in use, which stays`);
      // Where the issuer has a new key the new list is the good one. Both are asked, and each is verified then.
      else if (kept.length > 0)
        problems.push(
          `${fresh.path}: the key that signed the list in use did not sign this one; both are in use`,
        );
      lists.push(...kept);
      if (!isOlder) lists.push(fresh);
    }
    if (!complete) lists.push(...[...before.values()].flat());
    return { lists: new RevocationLists(lists), problems };
  }
}

/** A list that verified is not replaced by an older one, nor by one that its key did not sign. */
function staysBeside({ list }: ListInFile, fresh: ListInFile): boolean {
  const { verifiedWith } = list;
  if (verifiedWith === undefined) return false;
  return !fresh.list.isSignedWith(verifiedWith) || fresh.list.isOlderThan(list);
}

function grouped(
  lists: readonly ListInFile[],
  keyOf: (each: ListInFile) => string,
): Map<string, readonly ListInFile[]> {
  const groups = new Map<string, ListInFile[]>();
  for (const each of lists) {
    const others = groups.get(keyOf(each));
    if (others === undefined) groups.set(keyOf(each), [each]);
    else others.push(each);
  }
  return groups;
}

/** Of the lists that speak of the same, the newest. */
function newest(lists: readonly ListInFile[]): Iterable<ListInFile> {
  const found = new Map<string, ListInFile>();
  for (const each of lists) {
    const other = found.get(each.list.subject);
    if (other === undefined || other.list.isOlderThan(each.list)) found.set(each.list.subject, each);
  }
  return found.values();
}

function named(certificate: X509Certificate): string {
  return `${inOneLine(certificate.subject) || "without a subject"} (serial number ${certificate.serialNumber})`;
}

/** Node writes one part of a name a line. */
function inOneLine(name: string | undefined): string {
  return (name ?? "").split("\n").join(", ");
}
