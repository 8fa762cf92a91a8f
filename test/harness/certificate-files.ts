// Certificate, key and CA in files of a directory of their own, to be changed in the ways in which they are changed.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IssuedCertificate } from "../../src/testing/certificate-authority.ts";

/** What the three files hold. */
export interface FileContents {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface CertificateFiles extends AsyncDisposable {
  readonly directory: string;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

const names = { cert: "tls.crt", key: "tls.key", ca: "ca.crt" } as const;

export function contents(issued: IssuedCertificate, caPem: string): FileContents {
  return { cert: issued.cert, key: issued.key, ca: caPem };
}

/** Plain files. */
export async function plainFiles(first: FileContents): Promise<CertificateFiles> {
  const files = await emptyDirectory();
  await writeInPlace(files, first);
  return files;
}

/** As Kubernetes mounts a secret: each file is a link into `..data`, which is a link to a directory. */
export async function mountedFiles(first: FileContents): Promise<CertificateFiles> {
  const files = await emptyDirectory();
  await swapLink(files, first);
  for (const name of Object.values(names)) await symlink(join("..data", name), join(files.directory, name));
  return files;
}

async function emptyDirectory(): Promise<CertificateFiles> {
  const directory = await mkdtemp(join(tmpdir(), "palisade-certificates-"));
  return {
    directory,
    cert: join(directory, names.cert),
    key: join(directory, names.key),
    ca: join(directory, names.ca),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/**
 * Without a pause, as the next two are: whoever watches gives them 100 ms from the first change on, and on a busy machine a
 * test that waits for each step may be interrupted for longer.
 */
export async function writeInPlace(files: CertificateFiles, next: FileContents): Promise<void> {
  for (const name of ["cert", "key", "ca"] as const) writeFileSync(files[name], next[name]);
}

/** One after the other, as tools do that write beside and rename. */
export async function renameOver(files: CertificateFiles, next: FileContents): Promise<void> {
  for (const name of ["cert", "key", "ca"] as const) {
    writeFileSync(`${files[name]}.new`, next[name]);
    renameSync(`${files[name]}.new`, files[name]);
  }
}

let generation = 0;

export async function swapLink(files: CertificateFiles, next: FileContents): Promise<void> {
  generation += 1;
  const directory = `..${generation}`;
  await mkdir(join(files.directory, directory));
  for (const name of ["cert", "key", "ca"] as const) {
    await writeFile(join(files.directory, directory, names[name]), next[name]);
  }
  await symlink(directory, join(files.directory, "..data_tmp"));
  await rename(join(files.directory, "..data_tmp"), join(files.directory, "..data"));
}

export async function truncate(path: string): Promise<void> {
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.slice(0, text.length / 2));
}
