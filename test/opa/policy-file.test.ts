// Files that are no compiled policy, or a damaged one, keep the server from starting, whatever is in them (Z5).
import { Buffer } from "node:buffer";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { PolicyError } from "../../src/grpc/errors.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import { opaWasm } from "../../src/opa/index.ts";
import { readPolicyFile } from "../../src/opa/policy-file.ts";

const folder = mkdtempSync(join(tmpdir(), "palisade-policy-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function file(content: Buffer | string): string {
  files += 1;
  const path = join(folder, `policy-${files}`);
  writeFileSync(path, content);
  return path;
}

/** A module without anything in it. */
const empty = Buffer.from("\0asm\x01\0\0\0", "latin1");

interface Entry {
  readonly name: string;
  readonly content: Buffer;
  readonly type?: string;
  readonly size?: string;
  readonly prefix?: string;
}

function header({ name, content, type = "0", size, prefix = "" }: Entry): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100, "utf8");
  block.write("0000644\0", 100, "latin1");
  block.write(size ?? `${content.length.toString(8).padStart(11, "0")}\0`, 124, 12, "latin1");
  block.write("        ", 148, "latin1");
  block.write(type, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  block.write(prefix, 345, 155, "utf8");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

const padded = (content: Buffer): Buffer =>
  Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
const tar = (...entries: readonly Entry[]): Buffer =>
  Buffer.concat([
    ...entries.map((entry) => Buffer.concat([header(entry), padded(entry.content)])),
    Buffer.alloc(1_024),
  ]);
const bundle = (...entries: readonly Entry[]): Buffer => gzipSync(tar(...entries));

const wasm: Entry = { name: "/policy.wasm", content: empty };
const json = (text: string): Entry => ({ name: "/data.json", content: Buffer.from(text) });

describe("a bundle", () => {
  it.each<[string, Buffer]>([
    [
      "as opa build writes it",
      bundle(json('{"a":1}'), { name: "/policy.rego", content: Buffer.from("x") }, wasm),
    ],
    [
      "with names that do not begin with a slash",
      bundle({ ...wasm, name: "policy.wasm" }, { ...json('{"a":1}'), name: "./data.json" }),
    ],
    [
      "with folders and links",
      bundle(
        { name: "/a", type: "5", content: Buffer.alloc(0) },
        { name: "/policy.wasm", type: "2", content: Buffer.alloc(0) },
        json('{"a":1}'),
        wasm,
      ),
    ],
    [
      "with other data below",
      bundle({ ...json('{"b":2}'), name: "/orders/data.json" }, json('{"a":1}'), wasm),
    ],
    [
      "with other data below, by a prefix",
      bundle({ ...json('{"b":2}'), name: "data.json", prefix: "/orders" }, json('{"a":1}'), wasm),
    ],
  ])("Z5 is read %s", (_name, content) => {
    const read = readPolicyFile(file(content));
    expect(read.wasm.equals(empty)).toBe(true);
    expect(read.data).toEqual({ a: 1 });
  });
});

describe("a file that", () => {
  it.each<[string, () => string, RegExp]>([
    ["is not there", () => join(folder, "none"), /cannot be read \(ENOENT\): check the path/],
    [
      "is a folder",
      () => {
        const path = join(folder, "folder");
        mkdirSync(path);
        return path;
      },
      /is not a file/,
    ],
    ["is empty", () => file(""), /is neither a WebAssembly module nor a bundle/],
    ["is a policy in Rego", () => file("package orders\nallow := true\n"), /make one with opa build -t wasm/],
    ["is half a module", () => file("\0asm\x01"), /is no valid WebAssembly module/],
    ["is no module of OPA's", () => file(empty), /that OPA did not compile/],
    ["says it is compressed", () => file(Buffer.from([0x1f, 0x8b, 8, 0])), /cannot be unpacked/],
    ["is half a bundle", () => file(bundle(json("{}"), wasm).subarray(0, 60)), /cannot be unpacked/],
    [
      "unpacks to a lot",
      () => file(gzipSync(Buffer.alloc(130 * 1024 * 1024), { level: 1 })),
      /unpacks to more than 128 MiB/,
    ],
    ["is a compressed text", () => file(gzipSync("x".repeat(2_000))), /is a bundle that is damaged/],
    ["is a bundle without an end", () => file(gzipSync(tar(json("{}")).subarray(0, 1_024))), /cut off/],
    ["is a bundle of nothing", () => file(gzipSync("")), /cut off/],
    ["is a bundle without a module", () => file(bundle(json("{}"))), /without a WebAssembly module/],
    [
      "is a bundle for OPA's server",
      () => file(bundle(json("{}"), { name: "/a.rego", content: Buffer.from("package a") })),
      /opa build -t wasm/,
    ],
    [
      "is a bundle whose module is none",
      () => file(bundle({ ...wasm, content: Buffer.from("x") })),
      /without a WebAssembly module/,
    ],
    ["is a bundle with two modules", () => file(bundle(wasm, wasm)), /two files \/policy\.wasm/],
    [
      "is a bundle with two modules of other spelling",
      () => file(bundle(wasm, { ...wasm, name: "policy.wasm" })),
      /two files/,
    ],
    [
      "is a bundle with a checksum that is wrong",
      () => {
        const archive = tar(json("{}"), wasm);
        archive.write("x", 0);
        return file(gzipSync(archive));
      },
      /damaged/,
    ],
    [
      "is a bundle with a size beyond its end",
      () => file(bundle({ ...wasm, size: "77777777777\0" })),
      /cut off/,
    ],
    ["is a bundle with a negative size", () => file(bundle({ ...wasm, size: "-0000000001\0" })), /damaged/],
    [
      "is a bundle with a binary size",
      () => file(bundle({ ...wasm, size: "\x80\0\0\0\0\0\0\0\0\0\x01\0" })),
      /damaged/,
    ],
    [
      "is a bundle with very many files",
      () =>
        file(
          bundle(...Array.from({ length: 10_001 }, (_, at) => ({ name: `${at}`, content: Buffer.alloc(0) }))),
        ),
      /more than 10000 files/,
    ],
    ["is a bundle whose data is no JSON", () => file(bundle(json("{"), wasm)), /\/data\.json is not JSON/],
    [
      "is a bundle whose data is a list",
      () => file(bundle(json("[]"), wasm)),
      /\/data\.json is not an object/,
    ],
  ])("Z5 %s keeps the server from starting", (_name, make, problem) => {
    const authorizer = opaWasm({ file: make() });
    const compile = () => authorizer.compile([methodInfo("/a.B/C", "unary", true)]);
    expect(compile).toThrow(PolicyError);
    expect(compile).toThrow(/opaWasm\.file: /);
    expect(compile).toThrow(problem);
  });

  it("Z5 cannot be used is told together with what is wrong with public", () => {
    const authorizer = opaWasm({ file: join(folder, "none"), public: ["/a.B/D"] });
    try {
      authorizer.compile([methodInfo("/a.B/C", "unary", true)]);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(PolicyError);
      expect((error as PolicyError).problems).toEqual([
        expect.stringContaining("cannot be read"),
        expect.stringContaining("/a.B/D: no such method"),
      ]);
    }
  });
});
