// The file of a policy: read whole, up to a size that no policy needs.
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";

/** 4 MiB: more than ten thousand rules. */
const maxBytes = 4 * 1024 * 1024;

export type PolicyFileText = { readonly text: string } | { readonly problem: string };

export function readPolicyFile(path: string): PolicyFileText {
  try {
    // Before it is opened: opening a pipe waits for whoever writes into it.
    if (!statSync(path).isFile()) return { problem: `${path}: is no file; give the path of a policy file` };
    return readWhole(path);
  } catch (error) {
    return {
      problem:
        `${path}: cannot be read (${codeOf(error)}); check the path, which starts at ${process.cwd()} where it is relative, ` +
        "and that this process may read the file",
    };
  }
}

function readWhole(path: string): PolicyFileText {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(Math.min(fstatSync(file).size, maxBytes) + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(file, bytes, length, bytes.length - length, null);
    if (length > maxBytes)
      return { problem: `${path}: is larger than ${maxBytes} bytes; split the policy by services` };
    // It grew while it was read.
    if (length === bytes.length) return { problem: `${path}: changed while it was read; it is read again` };
    return { text: bytes.toString("utf8", 0, length) };
  } finally {
    closeSync(file);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unreadable";
}
