// The built package beside a grpc-js that says it is another version: what it does not work with is refused at start.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";

const root = join(import.meta.dirname, "../..");
const project = realpathSync(mkdtempSync(join(tmpdir(), "palisade-versions-")));
const grpcJs = join(project, "node_modules/@grpc/grpc-js");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly dependencies: Readonly<Record<string, string>>;
};

beforeAll(() => {
  const packed = join(project, "node_modules/grpc-palisade");
  cpSync(join(root, "dist"), join(packed, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(packed, "package.json"));
  const theirs = realpathSync(join(root, "node_modules/@grpc/grpc-js"));
  cpSync(theirs, grpcJs, { recursive: true });
  const needed = JSON.parse(readFileSync(join(theirs, "package.json"), "utf8")) as typeof manifest;
  const names = [...Object.keys(manifest.dependencies), ...Object.keys(needed.dependencies)];
  for (const name of [...new Set(names), "@opentelemetry/api"]) {
    const to = join(project, "node_modules", name);
    mkdirSync(dirname(to), { recursive: true });
    symlinkSync(realpathSync(join(root, "node_modules", name)), to);
  }
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

function pretend(version: string | undefined): void {
  const path = join(grpcJs, "package.json");
  const { version: _own, ...rest } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...rest, version }));
}

/** Each way into the package, started twice; a line for each that says how it went. */
const program = `
  const palisade = require("grpc-palisade");
  const { Client } = require("@grpc/grpc-js");
  const tls = { plaintext: "loopback" };
  const chain = { authentication: palisade.anonymous(), authorization: palisade.allowAuthenticated(), logger: false };
  const ways = {
    createSecureServer: () => palisade.createSecureServer({ tls, ...chain }),
    secureInterceptors: () => palisade.secureInterceptors({ services: [{ Get: {
      path: "/a.B/Get", requestStream: false, responseStream: false, requestSerialize: Buffer.from,
      requestDeserialize: String, responseSerialize: Buffer.from, responseDeserialize: String } }], ...chain }),
    toInterceptor: () => palisade.toInterceptor({ name: "own", onCall() {} }),
    createSecureClient: () => palisade.createSecureClient(Client, "localhost:1", { tls }).close(),
    compositeCredentials: () => palisade.compositeCredentials({}),
  };
  for (const [name, start] of [...Object.entries(ways), ...Object.entries(ways)]) {
    try {
      start();
      console.log(name + ": started");
    } catch (error) {
      console.log(name + ": " + error);
    }
  }`;
const ways = [
  "createSecureServer",
  "secureInterceptors",
  "toInterceptor",
  "createSecureClient",
  "compositeCredentials",
];

async function start(
  version: string | undefined,
): Promise<{ readonly said: readonly string[]; readonly warned: string }> {
  pretend(version);
  const { stdout, stderr } = await runNode(["--eval", program], { cwd: project });
  return { said: stdout.trim().split("\n"), warned: stderr };
}

/** What each way says, both times. */
function each(said: string): readonly string[] {
  return [...ways, ...ways].map((way) => `${way}: ${said}`);
}

describe("C6 every way into the package", () => {
  it.each(["1.14.0", "1.14.7", "1.14.99", undefined])("starts with grpc-js %s", async (version) => {
    expect(await start(version)).toEqual({ said: each("started"), warned: "" });
  });

  it.each(["1.12.6", "1.13.4", "0.99.0", "2.0.0", "nonsense"])(
    "refuses to start with grpc-js %s",
    async (version) => {
      const { said } = await start(version);
      const refusal =
        `ConfigError: @grpc/grpc-js ${version} is installed, and this release needs 1.14 ` +
        "(tested with 1.14.0 to 1.14.7); install it (npm install @grpc/grpc-js@~1.14.7)";
      expect(said).toEqual(each(refusal));
    },
  );

  it.each(["1.15.0", "1.20.3", "1.15.0-pre.1"])(
    "says that grpc-js %s is not tested, once",
    async (version) => {
      const { said, warned } = await start(version);
      expect(said).toEqual(each("started"));
      expect(warned.split("PALISADE_GRPC_JS")).toHaveLength(2);
      expect(warned).toContain(
        `@grpc/grpc-js ${version} is installed, and this release was tested with 1.14.0 to 1.14.7 only`,
      );
    },
  );
});
