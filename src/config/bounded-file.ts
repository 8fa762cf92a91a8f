// Reads a file whole that somebody else writes: only so much of it, and never a pipe.
import type { Buffer } from "node:buffer";
import { readFileSync, statSync } from "node:fs";

/** What is wrong with a file, in words that follow its path. */
export class FileProblem extends Error {}

/** @throws {FileProblem} where it cannot be read, is something else than a file, or has more than `maxBytes`. */
export function readBoundedFile(path: string, maxBytes: number): Buffer {
  try {
    const stats = statSync(path);
    // Reading a pipe would wait for whoever writes to it.
    if (!stats.isFile()) throw new FileProblem("is not a file");
    if (stats.size > maxBytes) throw new FileProblem(`is larger than ${maxBytes / 1024 / 1024} MiB`);
    return readFileSync(path);
  } catch (error) {
    throw error instanceof FileProblem ? error : new FileProblem(whyUnreadable(error));
  }
}

/** Far more than the sets of large companies have. */
const maxDescriptorSetBytes = 64 * 1024 * 1024;

/** Of an option `descriptorSet`: the bytes, or the path of a file with them. @throws {FileProblem} where it cannot be read. */
export function descriptorSetBytes(descriptorSet: string | Uint8Array): Uint8Array {
  return typeof descriptorSet === "string"
    ? readBoundedFile(descriptorSet, maxDescriptorSetBytes)
    : descriptorSet;
}

/** In words that follow the path: errors of the file system repeat it, and do not say what to do. */
export function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
  return (
    `cannot be read${code}: check the path, which starts at ${process.cwd()} where it is relative, ` +
    "and that this process may read the file"
  );
}
