// The built package in a folder where only what it cannot do without is installed: its types compile, and whoever uses a
// part that needs more is told what to install.
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
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";

const root = join(import.meta.dirname, "../..");
const project = realpathSync(mkdtempSync(join(tmpdir(), "palisade-bare-")));
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>;
};

function install(name: string): void {
  const to = join(project, "node_modules", name);
  mkdirSync(dirname(to), { recursive: true });
  symlinkSync(realpathSync(join(root, "node_modules", name)), to);
}

function uninstall(name: string): void {
  rmSync(join(project, "node_modules", name));
}

beforeAll(() => {
  // Copied, not linked: what it needs is looked for beside it.
  const packed = join(project, "node_modules/grpc-palisade");
  cpSync(join(root, "dist"), join(packed, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(packed, "package.json"));
  const required = Object.keys(manifest.peerDependencies).filter(
    (name) => manifest.peerDependenciesMeta[name]?.optional !== true,
  );
  for (const name of [...Object.keys(manifest.dependencies), ...required, "@types/node"]) install(name);
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

const nodeNext: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
};

/** Of a program in which each file has this source. */
function problemsOf(
  source: string,
  resolution: ts.CompilerOptions = nodeNext,
  files: readonly string[] = ["consumer.ts"],
): readonly string[] {
  const consumers = files.map((file) => join(project, file));
  const options: ts.CompilerOptions = {
    ...resolution,
    target: ts.ScriptTarget.ES2023,
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    types: ["node"],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (name) => consumers.includes(name) || fileExists(name);
  host.readFile = (name) => (consumers.includes(name) ? source : readFile(name));
  host.getCurrentDirectory = () => project;
  return ts
    .getPreEmitDiagnostics(ts.createProgram(consumers, options, host))
    .map(
      ({ file, messageText }) =>
        `${file?.fileName.slice(project.length)}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
    );
}

/** What a program that uses a part says as it ends. */
async function run(code: string): Promise<string> {
  return (await runNode(["--eval", code], { cwd: project })).stderr;
}

describe("without the optional packages", () => {
  it("the types compile, with the libraries' own checked", () => {
    const problems = problemsOf(`
      import { createSecureServer, type SecureServer, type Validator } from "grpc-palisade";
      import { cel } from "grpc-palisade/cel";
      import { crlFiles } from "grpc-palisade/crl";
      import { googleCredentials } from "grpc-palisade/google";
      import { clientCredentials, tokenExchange } from "grpc-palisade/oauth";
      import { opa, type OpaInput, opaWasm } from "grpc-palisade/opa";
      import { protovalidate } from "grpc-palisade/protovalidate";
      import { redisRateLimitStore } from "grpc-palisade/redis";
      import { startSecuredServer } from "grpc-palisade/testing";
      export const make: typeof createSecureServer = createSecureServer;
      export const start = startSecuredServer;
      export const store = redisRateLimitStore;
      export const sources = [googleCredentials, clientCredentials, tokenExchange];
      export const authorizers = [opa({ url: "https://opa.example", path: "orders/allow" }), opaWasm];
      export const condition = cel("request.owner == principal.subject");
      export const validator: Validator = protovalidate({ descriptorSet: "orders.binpb" });
      export type { OpaInput, SecureServer };
      export const wrong: SecureServer = 7;
    `);
    // The mistake is found: else nothing was checked.
    expect(problems).toEqual([expect.stringMatching(/consumer\.ts: Type 'number' is not assignable/)]);
  });

  it("the package, its test half and API keys work", async () => {
    const code = 'require("grpc-palisade"); require("grpc-palisade/testing").createTokenIssuer()';
    expect(await run(`${code}.then((issuer) => issuer.close())`)).toBe("");
    const cli = join(project, "node_modules/grpc-palisade/dist/cli/palisade.js");
    expect((await runNode([cli, "api-key", "--owner", "shop"])).stdout).toMatch(/"owner":"shop"/);
  });

  const certificates =
    "making certificates (palisade certs, grpc-palisade/testing): needs the package reflect-metadata, which is not " +
    "installed; install it (npm install --save-dev @peculiar/x509 reflect-metadata)";

  it("palisade certs says what to install, in one line", async () => {
    const cli = join(project, "node_modules/grpc-palisade/dist/cli/palisade.js");
    const { stderr, code } = await runNode([cli, "certs"], { cwd: project });
    expect(stderr).toBe(`${certificates}\n`);
    expect(code).toBe(1);
  });

  it("palisade policy says what to install where a policy has a condition, and needs nothing where none has", async () => {
    const cli = join(project, "node_modules/grpc-palisade/dist/cli/palisade.js");
    writeFileSync(
      join(project, "orders.proto"),
      'syntax = "proto3"; package orders.v1; message Order { string owner = 1; } service Orders { rpc Get (Order) returns (Order); }',
    );
    const check = (name: string, rule: unknown) => {
      writeFileSync(join(project, name), JSON.stringify({ rules: { "/orders.v1.Orders/Get": rule } }));
      return runNode([cli, "policy", "check", name, "--proto", "orders.proto"], { cwd: project });
    };
    expect(await check("plain.json", "authenticated")).toMatchObject({ code: 0, stderr: "" });
    expect(await check("when.json", { when: "request.owner == principal.subject" })).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "when.json: rules./orders.v1.Orders/Get.when: grpc-palisade/cel: needs the package @bufbuild/cel, which is not installed; " +
        "install it (npm install @bufbuild/cel @bufbuild/protobuf)\n",
    });
  });

  it("startSecuredServer says what to install", async () => {
    expect(
      await run(
        'require("grpc-palisade/testing").startSecuredServer({ services: [[{}, {}]] }).catch((e) => console.error(String(e)))',
      ),
    ).toBe(`ConfigError: ${certificates}\n`);
  });

  it("reflection says what to install", async () => {
    const code = `
      const { allowAuthenticated, anonymous, createSecureServer } = require("grpc-palisade");
      createSecureServer({
        tls: { plaintext: "loopback" },
        authentication: anonymous(),
        authorization: allowAuthenticated(),
        reflection: { roles: ["admin"] },
      });`;
    expect(await run(code)).toContain(
      "ConfigError: reflection: needs the package @grpc/reflection, which is not installed; " +
        "install it (npm install @grpc/reflection)",
    );
  });

  it("grpc-palisade/redis loads without a client, by import and by require()", async () => {
    const use =
      'if (typeof redisRateLimitStore({ client: { status: "end", defineCommand() {} } }).consume !== "function") process.exit(1)';
    expect(await run(`const { redisRateLimitStore } = require("grpc-palisade/redis"); ${use}`)).toBe("");
    expect(await run(`import("grpc-palisade/redis").then(({ redisRateLimitStore }) => { ${use} })`)).toBe("");
  });

  it("grpc-palisade/opa asks a server without a package of OPA's", async () => {
    const use =
      'if (opa({ url: "https://opa.example", path: "orders/allow" }).name !== "opa") process.exit(1)';
    expect(await run(`const { opa } = require("grpc-palisade/opa"); ${use}`)).toBe("");
    expect(await run(`import("grpc-palisade/opa").then(({ opa }) => { ${use} })`)).toBe("");
  });

  it("grpc-palisade/postgres loads without pg, by import and by require()", async () => {
    const use =
      'const pool = { totalCount: 0, connect() {}, on() {} }; if (typeof postgresApiKeyStore({ pool }).find !== "function") process.exit(1)';
    expect(await run(`const { postgresApiKeyStore } = require("grpc-palisade/postgres"); ${use}`)).toBe("");
    expect(await run(`import("grpc-palisade/postgres").then(({ postgresApiKeyStore }) => { ${use} })`)).toBe(
      "",
    );
  });

  it.each([
    ["--redis redis://127.0.0.1", "palisade api-key --redis: needs the package ioredis"],
    ["--postgres postgres://127.0.0.1", "palisade api-key --postgres: needs the package pg"],
  ])("palisade api-key list %s names the package that is missing", async (args, problem) => {
    const cli = join(project, "node_modules/grpc-palisade/dist/cli/palisade.js");
    const { code, stderr } = await runNode([cli, "api-key", "list", ...args.split(" ")], { cwd: project });
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(problem) });
  });

  it("grpc-palisade/postgres takes a pool of pg", () => {
    const needed = ["pg", "@types/pg", "pg-types", "pg-protocol"];
    for (const name of needed) install(name);
    try {
      const problems = problemsOf(`
        import type { ApiKeyStore, RevocationList } from "grpc-palisade";
        import { postgresApiKeyStore, postgresRevocationList } from "grpc-palisade/postgres";
        import { Pool } from "pg";
        export const store: ApiKeyStore = postgresApiKeyStore({ pool: new Pool() });
        export const list: RevocationList = postgresRevocationList({ pool: new Pool() });
        export const wrong: ApiKeyStore = 7;
      `);
      expect(problems).toEqual([expect.stringContaining("Type 'number'")]);
    } finally {
      for (const name of needed) uninstall(name);
    }
  });

  it.each<[string, string, string, string?]>([
    [
      "oauth",
      'clientCredentials({ tokenEndpoint: "https://id.example/t", client: { id: "a", secret: "b" } })',
      "oauth4webapi",
    ],
    ["google", "googleCredentials()", "google-auth-library"],
    ["opa", 'opaWasm({ file: "policy.wasm" })', "@open-policy-agent/opa-wasm"],
    ["cel", "cel('true')", "@bufbuild/cel", "@bufbuild/cel @bufbuild/protobuf"],
    [
      "protovalidate",
      'protovalidate({ descriptorSet: "orders.binpb" })',
      "@bufbuild/protovalidate",
      "@bufbuild/protovalidate @bufbuild/protobuf @bufbuild/cel",
    ],
  ])(
    "grpc-palisade/%s loads without its package, and names it when it is used",
    async (path, use, needed, install = needed) => {
      const name = use.split("(")[0];
      const says =
        `ConfigError: grpc-palisade/${path}: needs the package ${needed}, which is not installed; ` +
        `install it (npm install ${install})`;
      expect(await run(`require("grpc-palisade/${path}")`)).toBe("");
      expect(await run(`const { ${name} } = require("grpc-palisade/${path}"); ${use}`)).toContain(says);
      expect(await run(`import("grpc-palisade/${path}").then(({ ${name} }) => ${use})`)).toContain(says);
    },
  );

  it.each<[string, ts.CompilerOptions, readonly string[]]>([
    [
      "node16",
      { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
      ["consumer.cts", "consumer.mts"],
    ],
    ["nodenext", nodeNext, ["consumer.cts", "consumer.mts"]],
    [
      "bundler",
      { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
      ["consumer.ts"],
    ],
  ])("grpc-palisade/redis takes the clients of ioredis, in CommonJS and ESM: %s", (_, resolution, files) => {
    install("ioredis");
    try {
      const problems = problemsOf(
        `
        import type { ApiKeyStore, RateLimitStore, RevocationList } from "grpc-palisade";
        import { redisApiKeyStore, redisRateLimitStore, redisRevocationList } from "grpc-palisade/redis";
        import { Cluster, Redis } from "ioredis";
        export const lists: RevocationList[] = [new Redis(), new Cluster([])].map((client) => redisRevocationList({ client }));
        export const keys: ApiKeyStore[] = [new Redis(), new Cluster([])].map((client) => redisApiKeyStore({ client }));
        export const stores: RateLimitStore[] = [new Redis(), new Cluster([])].map((client) =>
          redisRateLimitStore({ client }),
        );
        export const wrong: RateLimitStore = 7;
      `,
        resolution,
        files,
      );
      expect(problems).toEqual(files.map((file) => expect.stringContaining(`${file}: Type 'number'`)));
    } finally {
      uninstall("ioredis");
    }
  });

  it("grpc-palisade/nestjs names the package that is missing, and what NestJS's microservices need", async () => {
    const needs = (name: string): string =>
      `ConfigError: grpc-palisade/nestjs: needs the package ${name}, which is not installed; install it ` +
      "(npm install @nestjs/common @nestjs/core @nestjs/microservices reflect-metadata rxjs)";
    const code = 'require("grpc-palisade/nestjs")';
    expect(await run(code)).toContain(needs("reflect-metadata"));
    expect(await run('import("grpc-palisade/nestjs")')).toContain(needs("reflect-metadata"));
    const others = ["reflect-metadata", "rxjs", "@nestjs/common"];
    for (const name of others) install(name);
    expect(await run(code)).toContain(needs("@nestjs/microservices"));
    for (const name of others) uninstall(name);
  });
});
