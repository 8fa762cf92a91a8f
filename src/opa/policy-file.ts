// Reads a compiled policy: the WebAssembly module itself, or the bundle that `opa build -t wasm` writes (a tar archive, compressed by
// gzip), of which only /policy.wasm and /data.json are looked at. Everything is bounded.
import type { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { FileProblem, readBoundedFile } from "../config/bounded-file.ts";

export interface PolicyFile {
  readonly wasm: Buffer;
  /** A bundle's own data. */
  readonly data: object | undefined;
  /** Of the whole file. */
  readonly digest: string;
}

/** More than policies have that are in use: a module is some 100 KB to 2 MB. */
const maxFileBytes = 64 * 1024 * 1024;
const maxUnpackedBytes = 128 * 1024 * 1024;
const maxTarEntries = 10_000;

/** Throws `FileProblem`. */
export function readPolicyFile(path: string): PolicyFile {
  const bytes = readBoundedFile(path, maxFileBytes);
  const digest = digestOf(bytes);
  if (isWasm(bytes)) return { wasm: bytes, data: undefined, digest };
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b)
    throw new FileProblem("is neither a WebAssembly module nor a bundle; make one with opa build -t wasm");
  const { wasm, data } = bundleIn(unpacked(bytes));
  return { wasm, data, digest };
}

/** Of what the file holds now; undefined where it cannot be read. */
export function digestOfFile(path: string): string | undefined {
  try {
    return digestOf(readBoundedFile(path, maxFileBytes));
  } catch {
    return undefined;
  }
}

function digestOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("base64");
}

function isWasm(bytes: Buffer): boolean {
  return bytes.subarray(0, 4).toString("latin1") === "\0asm";
}

function unpacked(bytes: Buffer): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: maxUnpackedBytes });
  } catch (error) {
    const isLarge = error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
    throw new FileProblem(
      isLarge
        ? `unpacks to more than ${maxUnpackedBytes / 1024 / 1024} MiB`
        : "cannot be unpacked: it is no gzip file, or cut off",
    );
  }
}

function bundleIn(tar: Buffer): { readonly wasm: Buffer; readonly data: object | undefined } {
  const found = new Map<string, Buffer>();
  for (const { name, content } of filesIn(tar)) {
    const plain = name.replace(/^(?:\.?\/)+/, "");
    if (plain !== "policy.wasm" && plain !== "data.json") continue;
    if (found.has(plain)) throw new FileProblem(`is a bundle with two files /${plain}`);
    found.set(plain, content);
  }
  const wasm = found.get("policy.wasm");
  if (wasm === undefined || !isWasm(wasm))
    throw new FileProblem(
      "is a bundle without a WebAssembly module /policy.wasm; make one with opa build -t wasm",
    );
  const data = found.get("data.json");
  return { wasm, data: data === undefined ? undefined : objectIn(data) };
}

function objectIn(json: Buffer): object {
  let data: unknown;
  try {
    data = JSON.parse(json.toString("utf8"));
  } catch {
    throw new FileProblem("is a bundle whose /data.json is not JSON");
  }
  if (typeof data !== "object" || data === null || Array.isArray(data))
    throw new FileProblem("is a bundle whose /data.json is not an object");
  return data;
}

const blockBytes = 512;

/** The plain files of a tar archive (POSIX.1-2017 pax, "ustar Interchange Format"). */
function* filesIn(tar: Buffer): Generator<{ readonly name: string; readonly content: Buffer }> {
  let at = 0;
  for (let entries = 0; entries < maxTarEntries; entries += 1) {
    const header = tar.subarray(at, at + blockBytes);
    // Also where a file's size leads beyond the end.
    if (header.length < blockBytes) throw new FileProblem("is a bundle that is cut off");
    // Two blocks of zeros are the end; one is as clear.
    if (header.every((byte) => byte === 0)) return;
    checkSum(header);
    const size = octal(header, 124, 12);
    const start = at + blockBytes;
    const type = header[156];
    if (type === 0 || type === 0x30)
      yield { name: nameIn(header), content: tar.subarray(start, start + size) };
    at = start + Math.ceil(size / blockBytes) * blockBytes;
  }
  throw new FileProblem(`is a bundle with more than ${maxTarEntries} files`);
}

function nameIn(header: Buffer): string {
  const name = text(header, 0, 100);
  const prefix = text(header, 257, 5) === "ustar" ? text(header, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** The sum of the header's bytes, its own field counted as spaces. */
function checkSum(header: Buffer): void {
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  if (octal(header, 148, 8) !== sum) throw new FileProblem("is a bundle that is damaged");
}

function octal(header: Buffer, at: number, length: number): number {
  const digits = text(header, at, length).trim();
  if (!/^[0-7]{1,12}$/.test(digits)) throw new FileProblem("is a bundle that is damaged");
  return Number.parseInt(digits, 8);
}

function text(header: Buffer, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? length : end).toString("utf8");
}
