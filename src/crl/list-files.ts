// Reads revocation lists from files and directories. What cannot be read is told, file by file, and spoils nothing else.
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileProblem, readBoundedFile, whyUnreadable } from "../config/bounded-file.ts";
import { DerError } from "../tls/der.ts";
import { CertificateList } from "./certificate-list.ts";
import type { ListInFile } from "./revocation-lists.ts";

export interface FilesRead {
  readonly lists: readonly ListInFile[];
  /** Each with its path. */
  readonly problems: readonly string[];
  /** What to watch: the files, and each directory, also as `directory/.`. */
  readonly watched: readonly string[];
}

/** More bytes than the largest lists have that are in use: a million entries are some 40 MB. */
const maxFileBytes = 64 * 1024 * 1024;
const maxFilesInDirectory = 1_000;

/** Reads files again, and parses those that changed: a long list takes time. */
export class ListFiles {
  readonly #paths: readonly string[];
  #parsed: ReadonlyMap<string, ParsedFile> = new Map();

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  read(): FilesRead {
    const parsed = new Map<string, ParsedFile>();
    const result = readLists(this.#paths, (path, bytes, inDirectory) => {
      const digest = createHash("sha256").update(bytes).digest("base64");
      const known = this.#parsed.get(path);
      const lists = known?.digest === digest ? known.lists : listsIn(bytes, inDirectory);
      parsed.set(path, { digest, lists });
      return lists;
    });
    this.#parsed = parsed;
    return result;
  }
}

interface ParsedFile {
  readonly digest: string;
  readonly lists: readonly CertificateList[];
}

type Parse = (path: string, bytes: Buffer, inDirectory: boolean) => readonly CertificateList[];

function readLists(paths: readonly string[], parse: Parse): FilesRead {
  const lists: ListInFile[] = [];
  const problems: string[] = [];
  const watched: string[] = [];
  const attempt = (path: string, work: () => void): void => {
    try {
      work();
    } catch (error) {
      problems.push(`${path}: ${describe(error)}`);
    }
  };
  const readOne = (path: string, inDirectory: boolean): void => {
    watched.push(path);
    attempt(path, () => {
      for (const list of parse(path, readBoundedFile(path, maxFileBytes), inDirectory))
        lists.push({ list, path });
    });
  };
  for (const path of paths) {
    attempt(path, () => {
      if (!statSync(path).isDirectory()) {
        readOne(path, false);
        return;
      }
      // The one for a directory that is replaced, the other for its files. `join` would take the dot away.
      watched.push(path, `${path}/.`);
      for (const file of filesIn(path)) {
        attempt(file, () => {
          // Behind a link of Kubernetes, for one.
          if (!statSync(file).isDirectory()) readOne(file, true);
        });
      }
    });
    // A path that is not there now is watched, so that it is seen when it comes back.
    if (!watched.includes(path)) watched.push(path);
  }
  return { lists, problems, watched };
}

function filesIn(directory: string): readonly string[] {
  const names = readdirSync(directory).filter((name) => !name.startsWith("."));
  if (names.length > maxFilesInDirectory)
    throw new DerError(`more than ${maxFilesInDirectory} files; keep the lists in a directory of their own`);
  return names.sort().map((name) => join(directory, name));
}

/** RFC 7468 section 6: what lists are labelled with, and what some programs write in its place. */
const listLabels: ReadonlySet<string | undefined> = new Set(["X509 CRL", "CRL"]);
const certificateLabel = /^(?:X509 |TRUSTED )?CERTIFICATE$/;
const begins = /-----BEGIN ([A-Z0-9 ]+)-----/g;
const block = /-----BEGIN ((?:X509 )?CRL)-----([\sA-Za-z0-9+/=]+)-----END \1-----/g;

/** PEM with one list or several (RFC 7468 section 6), or one in DER. */
function listsIn(bytes: Buffer, inDirectory: boolean): readonly CertificateList[] {
  if (bytes[0] === 0x30) return [new CertificateList(bytes)];
  const text = bytes.toString("latin1");
  const labels = [...text.matchAll(begins)].map(([, label]) => label);
  const expected = labels.filter((label) => listLabels.has(label)).length;
  // Directories that OpenSSL reads have certificates and lists side by side.
  const hasCertificatesAlone =
    labels.length > 0 && labels.every((label = "") => certificateLabel.test(label));
  if (inDirectory && hasCertificatesAlone) return [];
  if (expected === 0) throw new DerError("is no revocation list; expected PEM with blocks X509 CRL, or DER");
  const blocks = [...text.matchAll(block)];
  if (blocks.length !== expected) throw new DerError("a block X509 CRL is cut off, or is not base64");
  return blocks.map(([, , base64 = ""]) => new CertificateList(Buffer.from(base64, "base64")));
}

function describe(error: unknown): string {
  return error instanceof DerError || error instanceof FileProblem ? error.message : whyUnreadable(error);
}
