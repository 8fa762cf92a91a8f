// `palisade policy` as a pipeline runs it, over files (O6, Z3).
import { Buffer } from "node:buffer";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, toBinary } from "@bufbuild/protobuf";
import { FieldDescriptorProto_Type, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { loadSync, type ServiceDefinition } from "@grpc/proto-loader";
import { afterAll, describe, expect, it } from "vitest";
import { policyCommand } from "../../src/cli/policy.ts";
import type { PolicyChange } from "../../src/middleware/authorization/policy-change.ts";
import { runNode } from "../harness/child-process.ts";
import { runCommandHere } from "./run-command-here.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "palisade-policy-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const run = (...args: readonly string[]) => runCommandHere(policyCommand, args);

/** A file in the folder of this test, by its path. */
function file(name: string, content: string | Buffer | object): string {
  const path = join(directory, name);
  const isText = typeof content === "string" || Buffer.isBuffer(content);
  writeFileSync(path, isText ? content : JSON.stringify(content));
  return path;
}

const proto = file(
  "orders.proto",
  `syntax = "proto3";
package orders.v1;
import "money.proto";
service Orders {
  rpc GetOrder (money.Money) returns (money.Money);
  rpc CancelOrder (money.Money) returns (money.Money);
  rpc Format (money.Money) returns (stream money.Money);
}
`,
);
const include = join(directory, "include");
mkdirSync(include);
writeFileSync(
  join(include, "money.proto"),
  `syntax = "proto3";
package money;
message Money { int64 cents = 1; }
service Exchange { rpc Rate (Money) returns (Money); }
`,
);
const services = ["--proto", proto, "--include", include, "--service", "orders.v1.Orders"];

const roles = { viewer: { permissions: ["order:read"] }, clerk: { permissions: ["order:*"] } };
const policy = {
  roles,
  rules: {
    "/orders.v1.Orders/*": { permissions: ["order:read"] },
    "/orders.v1.Orders/CancelOrder": { roles: ["clerk"], schemes: ["jwt"] },
  },
};
const good = file("policy.json", policy);
const wider = file("wider.json", {
  roles,
  rules: {
    ...policy.rules,
    "/orders.v1.Orders/CancelOrder": { roles: ["clerk", "viewer"], schemes: ["jwt"] },
  },
});

/** A FileDescriptorSet, as `protoc --descriptor_set_out --include_imports` writes it. */
function descriptorSet(): Buffer {
  const definition = loadSync(proto, { includeDirs: [include] })["orders.v1.Orders"] as ServiceDefinition;
  const files = definition["GetOrder"]?.requestType.fileDescriptorProtos ?? [];
  const length = (size: number): number[] =>
    size < 0x80 ? [size] : [(size & 0x7f) | 0x80, ...length(size >>> 7)];
  return Buffer.concat(files.flatMap((one) => [Buffer.from([0x0a, ...length(one.length)]), one]));
}

/** As protoc writes it: proto-loader leaves the imports out. */
function completeSet(): Buffer {
  const type = ".money.Money";
  const method = ["GetOrder", "CancelOrder", "Format"].map((name) => ({
    name,
    inputType: type,
    outputType: type,
    serverStreaming: name === "Format",
  }));
  const cents = { name: "cents", number: 1, type: FieldDescriptorProto_Type.INT64, label: 1 };
  const money = {
    name: "money.proto",
    package: "money",
    syntax: "proto3",
    messageType: [{ name: "Money", field: [cents] }],
  };
  const orders = {
    name: "orders.proto",
    package: "orders.v1",
    syntax: "proto3",
    dependency: ["money.proto"],
    service: [{ name: "Orders", method }],
  };
  const set = create(FileDescriptorSetSchema, { file: [money, orders] });
  return Buffer.from(toBinary(FileDescriptorSetSchema, set));
}

describe("O6 palisade policy check", () => {
  it("O6 as a process: 0 and one line for a policy that fits, 1 and every problem for one that does not", async () => {
    const palisade = (path: string) =>
      runNode(["--import", "tsx", "src/cli/palisade.ts", "policy", "check", path, ...services], {
        cwd: root,
      });
    expect(await palisade(good)).toEqual({
      code: 0,
      stdout: `${good}: no problem; methods: 3\n`,
      stderr: "",
    });
    const bad = file("bad.json", {
      roles: { viewer: { inherits: ["viewr"] } },
      rules: { "/orders.v1.Orders/GetOrdr": { roles: ["admin"] } },
    });
    const { code, stdout, stderr } = await palisade(bad);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr.split("\n")).toEqual([
      `${bad}: /orders.v1.Orders/GetOrdr: no such method; did you mean "/orders.v1.Orders/GetOrder"?`,
      ...["GetOrder", "CancelOrder", "Format"].map(
        (name) => `${bad}: /orders.v1.Orders/${name}: no rule; add one, or a wildcard that covers it`,
      ),
      `${bad}: /orders.v1.Orders/GetOrdr: no such role admin; define it in roles, or remove it`,
      `${bad}: roles.viewer.inherits: no such role viewr; did you mean "viewer"?`,
      "",
    ]);
  });

  it("O6 reads a descriptor set", async () => {
    const set = file("orders.pb", descriptorSet());
    const from = ["--descriptor-set", set, "--service", "orders.v1.Orders"];
    expect(await run("check", good, ...from)).toMatchObject({ code: 0, stderr: "" });
    const broken = file("broken.pb", Buffer.from([0x0a, 0xff, 0xff, 0x01, 0x02]));
    expect(await run("check", good, "--descriptor-set", broken)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`${broken}: cannot be read: `),
    });
  });

  it("O6 without --service every service counts, those that are imported too", async () => {
    expect(await run("check", good, "--proto", proto, "--include", include)).toMatchObject({
      code: 1,
      stderr: `${good}: /money.Exchange/Rate: no rule; add one, or a wildcard that covers it\n`,
    });
  });

  it("O6 the health service brings its own rules, as on a server", async () => {
    const health = join(root, "examples/orders/health.proto");
    const both = ["--proto", proto, "--proto", health, "--include", include];
    const only = ["--service", "orders.v1.Orders", "--service", "grpc.health.v1.Health"];
    expect(await run("check", good, ...both, ...only)).toMatchObject({ code: 0, stderr: "" });
  });

  it("O6 with the schemes of the server, what demands another one is a problem", async () => {
    expect(await run("check", good, ...services, "--scheme", "jwt")).toMatchObject({ code: 0 });
    expect(await run("check", good, ...services, "--scheme", "mtls")).toMatchObject({
      code: 1,
      stderr: `${good}: /orders.v1.Orders/CancelOrder: no authenticator has the scheme jwt; there are mtls\n`,
    });
  });

  describe("O6 with generated code", () => {
    const shop = join(root, "test/generated/shop.proto");
    const code = join(root, "test/generated/shop_grpc_pb.cjs");
    const shopPolicy = file("shop.json", { rules: { "/*": "authenticated" } });

    it("O6 that agrees with the .proto file", async () => {
      expect(await run("check", shopPolicy, "--proto", shop, "--generated", code)).toMatchObject({
        code: 0,
        stderr: "",
      });
    });

    it("O6 a method that one of them lacks, or that has another kind, is a problem; those of the policy are told too", async () => {
      const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
        path: `/orders.v1.Orders/${name}`,
        requestStream,
        responseStream,
      });
      const definition = {
        getOrder: method("GetOrder", false, false),
        format: method("Format", true, true),
        gone: method("Gone", false, false),
      };
      const stale = file("stale.cjs", `exports.OrdersService = ${JSON.stringify(definition)};`);
      const again = "generate the code again";
      const problems = [
        `${stale}: /orders.v1.Orders/CancelOrder is missing; ${again}`,
        `${stale}: /orders.v1.Orders/Format is bidi_stream, and server_stream in the .proto file; ${again}`,
        `${stale}: /orders.v1.Orders/Gone is not in the .proto file; ${again}`,
      ];
      const told = await run("check", good, ...services, "--generated", stale);
      expect(told).toEqual({ code: 1, stdout: "", stderr: `${problems.join("\n")}\n` });
      const ruled = await run("check", shopPolicy, ...services, "--generated", stale, "--scheme", "jwt");
      expect(ruled).toMatchObject({ code: 1, stderr: `${problems.join("\n")}\n` });
      const dead = file("dead-too.json", { rules: { "/*": "authenticated", "/x.*": "authenticated" } });
      const both = await run("check", dead, ...services, "--generated", stale);
      expect(both.stderr.split("\n")).toHaveLength(problems.length + 2);
    });

    it("O6 a file that cannot be loaded, or has no definition, is named", async () => {
      const empty = file("empty.cjs", "exports.x = {};");
      const throws = file("throws.cjs", "throw new Error('out of order');");
      for (const [path, problem] of [
        [empty, "exports no service definition"],
        [throws, "cannot be loaded: out of order"],
        [join(directory, "away.cjs"), "cannot be loaded: Cannot find module"],
      ] as const)
        expect(await run("check", good, ...services, "--generated", path)).toMatchObject({
          code: 1,
          stdout: "",
          stderr: expect.stringContaining(`${path}: ${problem}`),
        });
    });
  });

  it("O6 what is probably a mistake is a warning, and no failure", async () => {
    const odd = file("odd.json", {
      roles,
      rules: {
        "/orders.v1.Orders/*": { permissions: ["order:raed"] },
        "/orders.v1.Orders/GetOrder": "public",
      },
    });
    const plain = file("plain.json", {
      roles: { viewer: roles.viewer },
      rules: JSON.parse(readFileSync(odd, "utf8")).rules,
    });
    expect(await run("check", plain, ...services)).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(
        `${plain}: warning: /orders.v1.Orders/*: no role grants permission order:raed`,
      ),
    });
  });

  it.each<[string, string, string]>([
    ["is no JSON", '{ "rules": {', "not JSON: "],
    ["is empty", "", "not JSON: "],
    ["holds a list", "[]", "options: expected an object, not a list"],
    ["has no rules", "{}", "rules: expected an object; it is missing"],
    ["has an unknown key", '{ "rules": {}, "role": {} }', 'role: unknown option; did you mean "roles"?'],
    ["opens a wildcard", '{ "rules": { "/*": "public" } }', 'rules./*: "public" is not allowed'],
    [
      "has a function as text",
      '{ "rules": { "/*": { "when": "() => true" } } }',
      'rules./*.when: cel: "() => true" is no expression: ',
    ],
    [
      "has a condition with an unknown field",
      '{ "rules": { "/*": { "when": "request.cnts > 5" } } }',
      '/*: when: /orders.v1.Orders/GetOrder: money.Money has no field cnts; did you mean "cents"? (at character 8)',
    ],
    [
      "names __proto__",
      '{ "roles": { "__proto__": {} }, "rules": { "/*": "authenticated" } }',
      "roles.__proto__",
    ],
  ])("O6 a policy file that %s is named, with what is wrong", async (what, content, problem) => {
    const path = file(`${what.replaceAll(" ", "-")}.json`, content);
    for (const args of [
      ["check", path],
      ["matrix", path],
      ["diff", good, path],
      ["diff", path, good],
    ]) {
      const { code, stdout, stderr } = await run(...args, ...services);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toContain(`${path}: ${problem}`);
    }
  });

  it("O6 a file that is not there is named", async () => {
    const away = join(directory, "away.json");
    expect(await run("check", away, ...services)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`${away}: cannot be read (ENOENT)`),
    });
    expect(await run("check", good, "--proto", "away.proto")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("away.proto: cannot be read: "),
    });
    expect(await run("check", good, ...services, "--service", "orders.v1.Order")).toMatchObject({
      code: 1,
      stderr: `${proto}: no service orders.v1.Order; did you mean "orders.v1.Orders"?\n`,
    });
    const empty = file("empty.proto", 'syntax = "proto3"; package empty;');
    expect(await run("check", good, "--proto", empty)).toMatchObject({
      code: 1,
      stderr: `${empty}: no service is in it\n`,
    });
  });

  it("O6 shows no control characters of a policy to a terminal", async () => {
    const escapes = file("escapes.json", { rules: { "/orders.v1.\u001b[2J/*": "authenticated" } });
    const { code, stderr } = await run("check", escapes, ...services);
    expect(code).toBe(1);
    expect(stderr.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
    expect(stderr).toContain("\\u{1b}[2J");
  });
});

describe("Z3 palisade policy matrix", () => {
  it.each([
    ["text", /^method +kind +access +role viewer +role clerk +/],
    ["markdown", /^# Access matrix\n\n\| method \|/],
    ["html", /^<!doctype html>/],
  ])("Z3 prints %s, and writes it to a file", async (format, start) => {
    const { code, stdout, stderr } = await run("matrix", good, ...services, "--format", format);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(start);
    const out = join(directory, `matrix.${format}`);
    expect(await run("matrix", good, ...services, "--format", format, "--out", out)).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    expect(readFileSync(out, "utf8")).toBe(stdout);
  });

  it("Z3 prints JSON, the data of the matrix", async () => {
    const { stdout } = await run("matrix", good, ...services, "--format", "json");
    expect(JSON.parse(stdout).roles).toEqual(["viewer", "clerk"]);
    expect(JSON.parse(stdout).methods[1]).toMatchObject({
      method: "/orders.v1.Orders/CancelOrder",
      access: "restricted",
      roles: ["clerk"],
      schemes: ["jwt"],
    });
  });

  it("Z3 a file that cannot be written is named", async () => {
    const out = join(directory, "no-such-folder", "matrix.html");
    expect(await run("matrix", good, ...services, "--out", out)).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining(`${out}: cannot be written: ENOENT`),
    });
  });
});

describe("O6 Z4 palisade policy with conditions in the file", () => {
  const withCondition = (name: string, when: string) =>
    file(name, { roles, rules: { "/*": { roles: ["clerk"], when } } });
  const small = withCondition("small.json", "request.cents < 100");
  const set = ["--descriptor-set", file("conditions.pb", completeSet()), "--service", "orders.v1.Orders"];

  it("O6 Z4 checks them by .proto files and by a descriptor set", async () => {
    for (const from of [services, set]) {
      expect(await run("check", small, ...from)).toMatchObject({ code: 0, stderr: "" });
      const wrong = withCondition("wrong.json", "request.cents < '100'");
      const { code, stderr } = await run("check", wrong, ...from);
      expect(code).toBe(1);
      expect(stderr.split("\n").slice(0, -1)).toEqual(
        ["GetOrder", "CancelOrder", "Format"].map(
          (name) =>
            `${wrong}: /*: when: /orders.v1.Orders/${name}: < cannot take int and string (at character 15)`,
        ),
      );
    }
  });

  it("O6 Z4 names of metadata come from --metadata", async () => {
    const region = withCondition("region.json", "metadata['x-region'] == 'eu'");
    const named = await run("check", region, ...services, "--metadata", "x-region");
    expect(named).toMatchObject({ code: 0, stderr: "" });
    expect(await run("check", region, ...services)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("x-region is not among the names of the option metadata"),
    });
    expect(await run("check", region, ...services, "--metadata", "authorization")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("is a credential, which no condition may read"),
    });
  });

  it("O6 Z4 shows them in the matrix", async () => {
    const { code, stdout } = await run("matrix", small, ...services, "--format", "json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout).methods[0]).toMatchObject({ conditions: ["request.cents < 100"] });
  });

  it("O6 Z4 shows one that changed, that came and that went", async () => {
    const larger = withCondition("larger.json", "request.cents < 1000");
    const without = file("without.json", { roles, rules: { "/*": { roles: ["clerk"] } } });
    for (const [before, after, direction, code] of [
      [small, larger, "changed", 3],
      [small, without, "gained", 3],
      [without, small, "lost", 0],
      [small, small, undefined, 0],
    ] as const) {
      const ended = await run(
        ...["diff", before, after, ...services, "--format", "json", "--fail-on", "gained"],
      );
      expect(ended).toMatchObject({ code, stderr: "" });
      const { changes } = JSON.parse(ended.stdout);
      expect(new Set(changes.map((change: PolicyChange) => change.direction))).toEqual(
        new Set(direction === undefined ? [] : [direction]),
      );
      for (const change of changes) expect(change).toMatchObject({ role: "clerk", what: "conditions" });
    }
    const { stdout } = await run("diff", small, larger, ...services);
    expect(stdout).toContain("request.cents < 100 ");
    expect(stdout).toContain("request.cents < 1000 ");
  });

  it("O6 Z4 checks each side by its own services", async () => {
    const older = file(
      "older-money.proto",
      `syntax = "proto3"; package orders.v1;
message Order { int64 units = 1; }
service Orders { rpc GetOrder (Order) returns (Order); rpc CancelOrder (Order) returns (Order); rpc Format (Order) returns (stream Order); }
`,
    );
    const units = withCondition("units.json", "request.units < 100");
    const before = ["--before-proto", older];
    expect(await run("diff", units, small, ...services, ...before)).toMatchObject({ code: 0, stderr: "" });
    expect(await run("diff", units, small, ...services)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("before: "),
    });
  });
});

describe("Z3 palisade policy diff", () => {
  const clerkOnly = "/orders.v1.Orders/CancelOrder";

  it("Z3 says that nothing changed, with 0", async () => {
    for (const failOn of ["any", "gained"])
      expect(await run("diff", good, good, ...services, "--fail-on", failOn)).toEqual({
        code: 0,
        stdout: "Nobody gains or loses access.\n",
        stderr: "",
      });
  });

  it.each<[string, string, string | undefined, number]>([
    ["gained", "wider", undefined, 0],
    ["gained", "wider", "any", 3],
    ["gained", "wider", "gained", 3],
    ["lost", "narrower", undefined, 0],
    ["lost", "narrower", "any", 3],
    ["lost", "narrower", "gained", 0],
  ])("Z3 access that is %s: %s with --fail-on %s is %i", async (direction, which, failOn, code) => {
    const [before, after] = which === "wider" ? [good, wider] : [wider, good];
    const ended = await run(
      ...["diff", before, after, ...services, "--format", "json"],
      ...(failOn === undefined ? [] : ["--fail-on", failOn]),
    );
    expect(ended).toMatchObject({ code, stderr: "" });
    expect(JSON.parse(ended.stdout)).toMatchObject({
      isEmpty: false,
      counts: { gained: 0, lost: 0, changed: 0, [direction]: 1 },
      changes: [{ direction, party: "role", role: "viewer", method: clerkOnly, what: "call" }],
    });
  });

  it("Z3 what nobody can tell is a gain for --fail-on gained", async () => {
    const other = file("other.json", {
      roles,
      rules: { ...policy.rules, [clerkOnly]: { roles: ["clerk"], schemes: ["mtls"] } },
    });
    const { code, stdout } = await run("diff", good, other, ...services, "--fail-on", "gained");
    expect(code).toBe(3);
    expect(stdout).toContain("some callers may more, others less");
  });

  it("Z3 writes Markdown for a pull request", async () => {
    const out = join(directory, "changes.md");
    const ended = await run("diff", good, wider, ...services, "--format", "markdown", "--out", out);
    expect(ended).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(readFileSync(out, "utf8")).toMatch(
      /^# Access changes\n\n1 gained, 0 lost, 0 changed\.\n\n\| direction \|/,
    );
  });

  it("Z3 takes the services of before, where a method was added", async () => {
    const older = file("older.proto", readFileSync(proto, "utf8").replace(/^ {2}rpc CancelOrder.*\n/m, ""));
    const { [clerkOnly]: _, ...rules } = policy.rules;
    const before = file("older.json", { roles, rules });
    expect(await run("diff", before, good, ...services)).toMatchObject({ code: 0 });
    const { code, stdout } = await run(
      ...["diff", before, good, ...services, "--format", "json", "--fail-on", "gained"],
      ...["--before-proto", older, "--before-include", include],
    );
    expect(code).toBe(3);
    expect(JSON.parse(stdout).changes).toMatchObject([
      { direction: "gained", role: "clerk", accessBefore: "absent", accessAfter: "restricted" },
    ]);
    // With the services of now alone, a rule of before that matches nothing would be a problem, and is told with its side.
    const dead = file("dead.json", { roles, rules: { ...policy.rules, "/orders.v1.Orders/Gone": "public" } });
    expect(await run("diff", dead, good, ...services)).toMatchObject({
      code: 1,
      stdout: "",
      stderr: `before: ${dead}: /orders.v1.Orders/Gone: no such method; remove it, or register its service\n`,
    });
  });
});

describe("O6 palisade policy with wrong arguments", () => {
  it.each<[readonly string[], string]>([
    [[], "usage: palisade policy check"],
    [["chek", good], 'unknown command "chek"'],
    [["constructor"], 'unknown command "constructor"'],
    [["--proto", proto], 'unknown command "--proto"'],
    [["check", ...services], "check: give one policy file"],
    [["check", good, wider, ...services], "check: give one policy file"],
    [["check", good], "give the services, by --proto FILE or by --descriptor-set FILE"],
    [
      ["check", good, "--descriptor-set", proto, ...services],
      "give the services, by --proto FILE or by --descriptor-set",
    ],
    [["check", good, ...services, "--format", "text"], "--format"],
    [
      ["matrix", good, ...services, "--format", "yaml"],
      "--format yaml: expected one of text, markdown, html, json",
    ],
    [["diff", good, ...services], "diff: give two policy files"],
    [
      ["diff", good, wider, ...services, "--format", "html"],
      "--format html: expected one of text, markdown, json",
    ],
    [["diff", good, wider, ...services, "--fail-on", "lost"], "--fail-on lost: expected one of gained, any"],
  ])("O6 ends with 2: %j", async (args, problem) => {
    expect(await run(...args)).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining(problem),
    });
  });

  it("O6 --help prints the usage, with the exit codes", async () => {
    const { code, stdout } = await run("diff", "--help");
    expect(code).toBe(0);
    expect(stdout).toContain("Exit code: 0 done, 1 a problem in a file, 2 wrong arguments, 3 a change");
  });
});
