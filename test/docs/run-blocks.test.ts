// What README.md, CONTRIBUTING.md and docs/ show does what they say: every block is run, or held against what it draws.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { pino } from "pino";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cel } from "../../src/cel/index.ts";
import { parseOptions } from "../../src/config/options.ts";
import {
  allowAuthenticated,
  anonymous,
  ConfigError,
  grpcPolicy,
  issueApiKey,
  memoryApiKeyStore,
  methodsOf,
  rbac,
} from "../../src/index.ts";
import { audit } from "../../src/middleware/audit/audit.ts";
import { PolicyHolder } from "../../src/middleware/authorization/authorization.ts";
import { logging } from "../../src/middleware/logging/logging.ts";
import { createStatements, namesOf } from "../../src/postgres/api-key-table.ts";
import {
  namesOf as revocationNamesOf,
  createStatements as revocationStatements,
} from "../../src/postgres/revocation-table.ts";
import { protovalidate } from "../../src/protovalidate/index.ts";
import { MethodOverrides } from "../../src/server/method-overrides.ts";
import { middlewareInOrder } from "../../src/server/middleware-order.ts";
import { serverSchema } from "../../src/server/server-options.ts";
import { ValidatedMethods } from "../../src/server/validated-methods.ts";
import { writeDevelopmentCertificates } from "../../src/testing/index.ts";
import { run as runProcess } from "../harness/child-process.ts";
import { fromSource } from "../harness/from-source.ts";
import { isOfProgram } from "./authorization-programs.ts";
import { checkEnvoy } from "./envoy.ts";
import { checkManifests } from "./manifests.ts";
import { type Block, blocksOf, pages, root } from "./pages.ts";
import { proofs } from "./proofs.ts";
import { checkRevocationList } from "./revocation-list.ts";
import { fieldsIn, ordersService, ordersSet } from "./validated-orders.ts";
import { at, documentsIn, listAt } from "./yaml.ts";

/** Inside the checkout, so that packages resolve as for a reader who installed them; git ignores it. */
const workshop = mkdtempSync(join(root, ".doc-blocks-"));
/** The folder of a reader who follows the README. */
const project = join(workshop, "project");
/** What the blocks of the other pages find on the machine. */
const surroundings = join(workshop, "surroundings");

const blocks = pages.flatMap(blocksOf);
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly scripts: Readonly<Record<string, string>>;
  readonly bin: { readonly palisade: string };
};

async function run(
  command: string,
  args: readonly string[],
  cwd: string,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const { code, stdout, stderr } = await runProcess(command, args, { cwd, env: fromSource });
  return { code, output: stdout + stderr };
}

const isTypeScript = (block: Block): boolean => block.language === "ts" && !isOfProgram(block);

const keyOf = ({ page, heading }: Block): string => `${page}#${heading.replaceAll("`", "")}`;

/** The names that a block declares to be the reader's own are those of `orders.ts`, or of `app-module.ts`. */
function withContext({ code }: Block): string {
  const names = [...code.matchAll(/^declare const (\w+)/gm)].map(([, name = ""]) => name);
  const own = names.includes("AppModule") ? "app-module.ts" : "orders.ts";
  const context = pathToFileURL(join(root, "test/docs", own)).href;
  const lead = names.length === 0 ? "" : `import { ${names.join(", ")} } from ${JSON.stringify(context)};\n`;
  const body = code.replace(/^declare const [^;]+;.*$/gm, "");
  return ts.transpileModule(lead + body, {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2023,
      verbatimModuleSyntax: false,
    },
  }).outputText;
}

async function runTypeScript(block: Block): Promise<void> {
  const file = join(workshop, `${block.page}.${block.line}.mjs`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, withContext(block));
  const script = join(root, "test/docs/run-block.ts");
  const args = [script, keyOf(block), file, surroundings];
  const { code, output } = await run(process.execPath, args, surroundings);
  if (code !== 0)
    throw new Error(`${block.page}:${block.line} ended with ${code}:
${output}`);
}

/** One line of a shell block. A command that is not known here fails: it needs a rule. */
async function runCommand(line: string): Promise<void> {
  const [command = "", ...args] = line.split(" ");
  const [verb = "", ...rest] = args;
  if (command === "npm" && verb === "install") return install(rest);
  // What these two do to the checkout itself is done by whoever runs the tests.
  if (line === "npm ci") return expect(existsSync(join(root, "package-lock.json"))).toBe(true);
  if (command === "npm" && ["start", "test", "run"].includes(verb)) {
    const name = verb === "run" ? rest[0] : verb;
    return expect(Object.keys(manifest.scripts)).toContain(name);
  }
  const isKnown =
    (command === "npm" && ["init", "pkg"].includes(verb)) ||
    (command === "npx" && verb === "palisade") ||
    (command === "node" && verb === "main.js");
  if (!isKnown) throw new Error(`"${line}": no rule for this command; say how it is run`);
  const { code, output } = await run(command, args, project);
  if (code !== 0) throw new Error(`"${line}" ended with ${code}:\n${output}`);
  if (command === "node") {
    expect(output).toContain("{ id: '7', owner: 'shop' }");
    expect(output).toContain("7 PERMISSION_DENIED: permission denied");
  }
}

/** From what is installed here; the packed package itself is installed by `npm run smoke`. */
function install(args: readonly string[]): void {
  for (const name of args.filter((arg) => arg !== "--save-dev")) {
    const from = name === "grpc-palisade" ? root : join(root, "node_modules", name);
    expect(existsSync(join(from, "package.json")), `${name} is installed here`).toBe(true);
    const to = join(project, "node_modules", name);
    mkdirSync(dirname(to), { recursive: true });
    if (!existsSync(to)) symlinkSync(from, to);
  }
  const bin = join(project, "node_modules/.bin");
  if (existsSync(bin)) return;
  mkdirSync(bin, { recursive: true });
  // As npm links it, from the sources.
  const cli = join(root, manifest.bin.palisade.replace(/^dist\/(.*)\.js$/, "src/$1.ts"));
  writeFileSync(join(bin, "palisade"), `#!/bin/sh\nexec node "${cli}" "$@"\n`, { mode: 0o755 });
}

/** The steps of a pipeline that are commands of palisade, in a checkout in whose folder `base` the last version lies. */
async function runSteps({ code }: Block): Promise<void> {
  const base = join(project, "base");
  mkdirSync(base);
  for (const name of ["policy.json", "orders.proto"])
    writeFileSync(join(base, name), readFileSync(join(project, name)));
  const commands = documentsIn(code)
    .flatMap((document) => listAt(document, "steps"))
    .map((step) => String(at(step, "run")))
    .filter((command) => command.startsWith("npx palisade "));
  expect(commands).toHaveLength(2);
  for (const command of commands) await runCommand(command);
  expect(readFileSync(join(project, "access-changes.md"), "utf8")).toContain("Nobody gains or loses access.");
}

async function runShell({ code }: Block): Promise<void> {
  for (const line of code.trim().split("\n")) await runCommand(line);
}

/** The README's drawing of the chain: its middleware, in its order, are the chain's. */
function checkDrawing({ code }: Block): void {
  const labels = [...code.matchAll(/^ +(\w.*-->.*)$/gm)]
    .map(([, line = ""]) => line.split(" --> "))
    .filter((nodes) => nodes.length > 3)
    .flatMap((nodes) => nodes.map((node) => /\["(.+)"\]/.exec(node)?.[1] ?? node));
  const names: Readonly<Record<string, string>> = {
    "metadata size": "metadata-limit",
    "peer rate limit": "peer-rate-limit",
    "principal limits": "principal-rate-limit",
    "your own middleware": "own",
  };
  const own = { name: "own", onCall() {} };
  const settings = parseOptions(
    serverSchema,
    {
      tls: { plaintext: "loopback" },
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      middleware: [own],
    },
    "",
  );
  const logger = pino({ enabled: false });
  const layers = middlewareInOrder({
    settings,
    logging: logging({ logger }),
    audit: audit({ sinks: [{ write: async () => {} }], logger }),
    policy: new PolicyHolder(),
    isApplications: () => true,
    overrides: new MethodOverrides(settings),
    validated: new ValidatedMethods(settings.validation),
    behindMesh: false,
  }).map(({ name }) => name);
  const drawn = labels.map((label) => names[label] ?? label);
  // The drawing leaves out two that stand beside their kin.
  const beside = ["failed-authentication", "message-rate-limit"];
  expect(layers.filter((name) => !beside.includes(name))).toEqual(drawn);
}

/** A tree of files: each is there, and each folder of the first level is in it. */
function checkTree({ code }: Block): void {
  const folders: string[] = [];
  for (const [, indent = "", name = ""] of code.matchAll(/^( *)([\w.-]+\/?)(?: {2,}|$)/gm)) {
    if (indent.length > 4) continue;
    folders.length = indent.length / 2;
    expect(existsSync(join(root, ...folders, name)), `${[...folders, name].join("")} is there`).toBe(true);
    folders.push(name);
  }
  const told = new Set([...code.matchAll(/^ {2}([\w.-]+)/gm)].map(([, name]) => name));
  expect(readdirSync(join(root, "src")).filter((name) => !told.has(name))).toEqual([]);
}

const write = (name: string) => {
  return ({ code }: Block): void => writeFileSync(join(project, name), code);
};

/** What is done with a block, by its language and, where that does not tell, its page. */
function ruleFor(block: Block): ((block: Block) => void | Promise<void>) | undefined {
  // Run, each with the others of its program, by authorization.test.ts.
  if (isOfProgram(block)) return () => {};
  const rules: Readonly<Record<string, (block: Block) => void | Promise<void>>> = {
    ts: runTypeScript,
    sh: runShell,
    "proto README.md": (proto) => {
      write("orders.proto")(proto);
      loadSync(join(project, "orders.proto"));
    },
    // It is run by the shell block below it.
    "js README.md": write("main.js"),
    "mermaid README.md": checkDrawing,
    "text docs/architecture.md": checkTree,
    "text docs/authorization/cel.md": checkMisspeltField,
    "proto docs/validation.md": checkValidatedProto,
    "text docs/validation.md": checkMisspeltRule,
    // Run by the proof of the block below it.
    "json docs/authorization/grpc-policy.md": ({ code }) => void grpcPolicy({ policy: code }),
    "json docs/api-keys.md": ({ code }) => void memoryApiKeyStore(JSON.parse(code)),
    "json docs/authorization/rbac-file.md": ({ code }) =>
      expect(
        existsSync(join(root, JSON.parse(code).$schema.replace("node_modules/grpc-palisade/", ""))),
      ).toBe(true),
    "sql docs/api-keys.md": ({ code }) =>
      expect(code.trim()).toBe(
        createStatements(namesOf("palisade_api_keys"))
          .map((statement) => `${statement};`)
          .join("\n\n"),
      ),
    "sql docs/revocation.md": ({ code }) =>
      expect(code.trim()).toBe(
        revocationStatements(revocationNamesOf("palisade_revocations"))
          .map((statement) => `${statement};`)
          .join("\n\n"),
      ),
    "sh docs/revoked-certificates.md": checkRevocationList,
    "yaml docs/kubernetes.md": checkManifests,
    "yaml docs/mesh.md": checkEnvoy,
    // Run by the proof of the block below it.
    "json docs/authorization/cel.md": ({ code }) => expect(JSON.parse(code)).toMatchObject({ rules: {} }),
    "json docs/authorization/reading-a-policy.md": write("policy.json"),
    "yaml docs/authorization/reading-a-policy.md": runSteps,
  };
  return rules[`${block.language} ${block.page}`] ?? rules[block.language];
}

/** The .proto of a page is that of the descriptors that its other blocks are run with; its options only protoc reads. */
function checkValidatedProto({ code }: Block): void {
  const proto = join(workshop, "validated.proto");
  const plain = code
    .replace(/^import .*$/m, "")
    .replace(/ \[\(buf[\s\S]*?\];/g, ";")
    .replace(/^ {2}option [\s\S]*?^ {2}\};$/m, "");
  writeFileSync(proto, plain);
  const loaded = loadSync(proto, { keepCase: true });
  for (const [name, fields] of Object.entries(fieldsIn(ordersSet()))) {
    const type = loaded[`orders.v1.${name}`] as { readonly type: { readonly field: { name: string }[] } };
    expect(type.type.field.map((field) => field.name)).toEqual(fields);
  }
  for (const rule of ["min_len: 1, max_len: 64", "max_len = 500", "max_items: 10", "^[a-z]{1,20}$"])
    expect(code).toContain(rule);
  expect(code).toContain(`expression: "this.tags.size() < 2 || this.reason != ''"`);
}

/** The problem that a page shows, of a rule that names a field that there is not. */
function checkMisspeltRule({ code }: Block): void {
  const validator = protovalidate({ descriptorSet: ordersSet("this.tag.size() < 2") });
  const [method] = methodsOf(ordersService());
  if (method === undefined) throw new Error("there is no method");
  expect(() => validator.compile(method)).toThrow(new ConfigError(code.trim()));
}

/** The problem that a page shows, of a condition that names a field that there is not. */
function checkMisspeltField({ code }: Block): void {
  const proto = join(workshop, "misspelt.proto");
  writeFileSync(
    proto,
    `syntax = "proto3"; package orders.v1; message CancelOrderRequest { string owner = 1; }
     service Orders { rpc CancelOrder(CancelOrderRequest) returns (CancelOrderRequest); }`,
  );
  const service = loadSync(proto)["orders.v1.Orders"] as ServiceDefinition;
  const rules = { "/orders.v1.Orders/CancelOrder": { when: cel("request.ownr == principal.subject") } };
  expect(() => rbac({ rules }).compile(methodsOf(service))).toThrow(code.trim());
}

beforeAll(async () => {
  for (const folder of [project, surroundings]) mkdirSync(folder);
  await writeDevelopmentCertificates(join(surroundings, "certs"));
  for (const name of ["server.crt", "server.key"]) {
    symlinkSync(join(surroundings, "certs", name), join(surroundings, name));
  }
  const { key, record } = issueApiKey({ owner: "shop", roles: ["viewer"] });
  writeFileSync(join(surroundings, "api-keys.json"), JSON.stringify([record]));
  writeFileSync(join(surroundings, "api-key"), key);
  // As a secret of the type kubernetes.io/tls is mounted.
  mkdirSync(join(surroundings, "tls"));
  for (const [file, name] of [
    ["server.crt", "tls.crt"],
    ["server.key", "tls.key"],
    ["ca.crt", "ca.crt"],
  ] as const) {
    symlinkSync(join(surroundings, "certs", file), join(surroundings, "tls", name));
  }
});

afterAll(() => rmSync(workshop, { recursive: true, force: true }));

describe("the code that the documentation shows", () => {
  it("has a rule for each block, and a proof for each TypeScript block", () => {
    const without = blocks.filter((block) => ruleFor(block) === undefined);
    expect(without.map(({ page, line, language }) => `${page}:${line} ${language}`)).toEqual([]);
    expect(ruleFor({ page: "docs/new.md", heading: "New", language: "yaml", line: 1, code: "" })).toBe(
      undefined,
    );
    const typeScript = blocks.filter(isTypeScript).map(keyOf);
    expect(Object.keys(proofs).sort()).toEqual(typeScript.sort());
  });

  it("has a rule for each command, and none passes unseen", async () => {
    await expect(runCommand("grpcurl -insecure localhost:50051 list")).rejects.toThrow(
      "no rule for this command",
    );
    await expect(runCommand("npx palisade no-such-command")).rejects.toThrow();
  });

  // They share a folder, and are followed from the top to the bottom.
  it("runs, step by step, as a reader of the README follows it", async () => {
    for (const block of blocks.filter((one) => !isTypeScript(one))) await ruleFor(block)?.(block);
  });

  it.concurrent.each(blocks.filter(isTypeScript).map((block) => [keyOf(block), block] as const))(
    "runs: %s",
    async (_key, block) => {
      await runTypeScript(block);
    },
  );

  it("runs where it stands in a line of text, as a command of palisade or npm", async () => {
    const commands = pages.flatMap(({ text }) =>
      [...text.matchAll(/`((?:npx palisade|npm run|npm start|npm test)[^`…<]*)`/g)].map(
        ([, line = ""]) => line,
      ),
    );
    expect(commands.length).toBeGreaterThan(5);
    for (const command of new Set(commands)) await runCommand(command);
  });
});
