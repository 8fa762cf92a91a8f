// Rules in a .proto, read from the published access.proto by protobufjs, and from descriptor sets (Z7).
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cel } from "../../../src/cel/index.ts";
import { ConfigError, PolicyError } from "../../../src/grpc/errors.ts";
import { methodInfo, methodsOf } from "../../../src/grpc/method.ts";
import { rbac } from "../../../src/middleware/authorization/rbac.ts";
import { rulesFromProto } from "../../../src/middleware/authorization/rules-from-proto.ts";

const protos = resolve(import.meta.dirname, "../../../protos");
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "palisade-proto-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A service whose methods `A`, `B`, … have these options. */
function load(...options: readonly string[]): ServiceDefinition {
  const methods = options.map(
    (option, index) => `rpc ${String.fromCharCode(65 + index)}(M) returns (M) { ${option} }`,
  );
  const path = join(directory, "orders.proto");
  writeFileSync(
    path,
    `syntax = "proto3"; package orders.v1; import "palisade/v1/access.proto"; message M { string id = 1; }
     service Orders { ${methods.join("\n")} }`,
  );
  return loadSync(path, { includeDirs: [protos] })["orders.v1.Orders"] as ServiceDefinition;
}

const access = (text: string): string => `option (palisade.v1.access) = { ${text} };`;

/** A field of an encoded message: a number, a text, or a message. */
function field(number: number, value: number | string | Buffer): Buffer {
  const varint = (from: number): number[] =>
    from < 128 ? [from] : [(from % 128) + 128, ...varint(Math.floor(from / 128))];
  if (typeof value === "number") return Buffer.from([...varint(number * 8), ...varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(bytes.length)]), bytes]);
}

const optionOf = (...parts: readonly Buffer[]): Buffer => field(50_817, Buffer.concat(parts));

/** A FileDescriptorSet with one service. */
function descriptorSet(methods: Readonly<Record<string, Buffer>>, service: Buffer = Buffer.alloc(0)): Buffer {
  const described = Object.entries(methods).map(([name, options]) =>
    field(
      2,
      Buffer.concat([field(1, name), field(2, ".orders.v1.M"), field(3, ".orders.v1.M"), field(4, options)]),
    ),
  );
  const file = Buffer.concat([
    field(1, "orders.proto"),
    field(2, "orders.v1"),
    field(4, field(1, "M")),
    field(6, Buffer.concat([field(1, "Orders"), ...described, field(3, service)])),
    field(12, "proto3"),
  ]);
  return field(1, file);
}

describe("rulesFromProto", () => {
  const expected = {
    "/orders.v1.Orders/A": "public",
    "/orders.v1.Orders/B": "authenticated",
    "/orders.v1.Orders/C": { roles: ["admin"], permissions: ["order:read", "order:write"], schemes: ["jwt"] },
    "/orders.v1.Orders/D": { roles: ["a", "b"] },
  };

  it("Z7 reads the options of a service that proto-loader loaded", () => {
    const service = load(
      access("public: true"),
      "option (.palisade.v1.access).authenticated = true;",
      access('roles: "admin" permissions: "order:read" permissions: "order:write" schemes: ["jwt"]'),
      'option (palisade.v1.access).roles = "a"; option (palisade.v1.access).roles = "b";',
      "option deprecated = true;",
    );
    expect(rulesFromProto(service)).toEqual(expected);
  });

  it("Z7 reads the same from a descriptor set, its bytes or its file, and the service's own option", () => {
    const set = descriptorSet(
      {
        A: optionOf(field(1, 1)),
        B: Buffer.concat([field(33, 1), optionOf(field(1, 0), field(2, 1))]),
        C: optionOf(field(3, "admin"), field(4, "order:read"), field(4, "order:write"), field(5, "jwt")),
        // Set in two parts, as protoc writes an option that is set field by field.
        D: Buffer.concat([optionOf(field(3, "a")), optionOf(field(3, "b"))]),
        E: field(33, 1),
      },
      optionOf(field(3, "viewer")),
    );
    const all = { ...expected, "/orders.v1.Orders/*": { roles: ["viewer"] } };
    expect(rulesFromProto({ descriptorSet: set })).toEqual(all);
    const path = join(directory, "orders.pb");
    writeFileSync(path, set);
    expect(rulesFromProto({ descriptorSet: path })).toEqual(all);
    expect(rulesFromProto([load(access("public: true")), { descriptorSet: path }])).toEqual(all);
  });

  it("Z7 makes conditions with what is given for them", () => {
    const service = load(access(`when: "request.id != ''"`));
    const when = () => true;
    const texts: string[] = [];
    const rules = rulesFromProto(service, {
      condition: (text) => {
        texts.push(text);
        return when;
      },
    });
    expect(rules).toEqual({ "/orders.v1.Orders/A": { when } });
    expect(texts).toEqual(["request.id != ''"]);
  });

  it.each<[string, string, RegExp]>([
    [
      "that demands nothing",
      "",
      /demands nothing; write public: true, authenticated: true, or at least one of/,
    ],
    ["that is public and not", 'public: true roles: "admin"', /says two things/],
    ["that is public and for the authenticated", "public: true authenticated: true", /says two things/],
    ["with public: false alone", "public: false", /demands nothing/],
    ["with a field that there is not", 'role: "admin"', /role: unknown option; did you mean "roles"/],
    ["with a text for public", 'public: "yes"', /public: expected true or false/],
    [
      "with a condition that nobody understands",
      'when: "true"',
      /when: needs what understands it.*condition: cel/,
    ],
  ])("Z7 refuses an option %s, and says where it stands", (_what, text, message) => {
    const reading = () => rulesFromProto(load(access("public: true"), access(text)));
    expect(reading).toThrow(ConfigError);
    expect(reading).toThrow(message);
    expect(reading).toThrow(/^rulesFromProto: \/orders\.v1\.Orders\/B: \(palisade\.v1\.access\)/);
  });

  it.each<[string, unknown, RegExp]>([
    [
      "a field of a later version",
      { descriptorSet: descriptorSet({ A: optionOf(field(3, "a"), field(9, "x")) }) },
      /A: \(palisade\.v1\.access\)\.field 9: unknown option/,
    ],
    [
      "a list as a number",
      { descriptorSet: descriptorSet({ A: optionOf(field(3, 1)) }) },
      /field 3: unknown option/,
    ],
    [
      "a service's option that demands nothing",
      { descriptorSet: descriptorSet({}, optionOf()) },
      /Orders\/\*: \(palisade\.v1\.service_access\): demands nothing/,
    ],
    [
      "half a descriptor set",
      { descriptorSet: descriptorSet({ A: optionOf(field(1, 1)) }).subarray(0, 60) },
      /is no FileDescriptorSet: it ends in the middle/,
    ],
    [
      "what is no descriptor set",
      { descriptorSet: Buffer.from("service Orders {}") },
      /is no FileDescriptorSet/,
    ],
    [
      "a number without end",
      { descriptorSet: Buffer.alloc(20, 0xff) },
      /is no FileDescriptorSet: it has a number of more than ten bytes/,
    ],
    ["an empty file", { descriptorSet: Buffer.alloc(0) }, /describes no service; write it with protoc/],
    [
      "a file that is not there",
      { descriptorSet: "missing.pb" },
      /descriptorSet missing\.pb cannot be read \(ENOENT\): check the path/,
    ],
    [
      "a definition without options",
      { get: { path: "/a.B/Get" } },
      /\/a\.B\/Get: this definition does not have the options.*use \{ descriptorSet \}/,
    ],
    ["nothing", undefined, /expected a service definition/],
    ["a text", "orders.proto", /expected a service definition/],
  ])("Z7 refuses %s", (_what, definition, message) => {
    const reading = () => rulesFromProto(definition as ServiceDefinition);
    expect(reading).toThrow(ConfigError);
    expect(reading).toThrow(message);
  });

  it("Z7 refuses a relative name of the option, which may be another one", () => {
    expect(() => rulesFromProto(load('option (v1.access) = { roles: "admin" };'))).toThrow(
      /Orders\/A: the option \(v1\.access\) may be \(palisade\.v1\.access\); write that in full/,
    );
  });

  it("Z7 tells every problem at once", () => {
    try {
      rulesFromProto(load(access(""), access('role: "x"')));
      expect.unreachable("the options were taken");
    } catch (error) {
      expect(error instanceof ConfigError && error.problems).toHaveLength(2);
    }
  });
});

describe("rbac with rules of the .proto", () => {
  it("Z7 refuses what makes no condition of a text, and names the method where the text has a mistake", () => {
    const reading = (text: string, condition: unknown) =>
      rulesFromProto(load(access(`roles: "admin" when: "${text}"`)), { condition: condition as typeof cel });
    const place = /^rulesFromProto: \/orders\.v1\.Orders\/A: \(palisade\.v1\.access\)\.when: /;
    for (const [problem, made] of [
      [/the function of the option condition returned no condition/, () => reading("true", () => undefined)],
      [/cel: "request\.id = 7" is no expression/, () => reading("request.id = 7", cel)],
    ] as const) {
      expect(made).toThrow(ConfigError);
      expect(made).toThrow(place);
      expect(made).toThrow(problem);
    }
  });

  it("Z4 Z7 checks conditions in CEL against the request of their method", () => {
    const compiling = (text: string) => {
      const service = load(access(`when: "${text}"`));
      const protoRules = rulesFromProto(service, { condition: cel });
      return rbac({ protoRules, rules: {} }).compile(methodsOf(service));
    };
    expect(compiling("request.id == principal.subject").methods.size).toBe(1);
    expect(() => compiling("request.idd == principal.subject")).toThrow(
      /Orders\/A: when: .*idd.*did you mean "id"/,
    );
  });

  const methods = ["A", "B"].map((name) => methodInfo(`/orders.v1.Orders/${name}`, "unary", true));

  it("Z7 decides by them, but for those that the code has too, and warns of these", () => {
    const protoRules = rulesFromProto(load(access('roles: "admin"'), access("public: true")));
    const roles = { admin: {}, viewer: {} };
    const policy = rbac({
      roles,
      protoRules,
      rules: { "/orders.v1.Orders/B": { roles: ["viewer"] } },
    }).compile(methods);
    expect(policy.methods.get("/orders.v1.Orders/A")?.rule).toEqual({ roles: ["admin"] });
    expect(policy.methods.get("/orders.v1.Orders/B")?.rule).toEqual({ roles: ["viewer"] });
    expect(policy.warnings).toEqual([
      "/orders.v1.Orders/B: the rule in code takes the place of the one in the .proto",
    ]);
  });

  it("Z2 refuses what they demand and nobody has, and a method that neither has a rule for", () => {
    const protoRules = rulesFromProto(load(access('roles: "admni"'), "option deprecated = true;"));
    const compiling = () => rbac({ roles: { admin: {} }, protoRules, rules: {} }).compile(methods);
    expect(compiling).toThrow(PolicyError);
    expect(compiling).toThrow(/A: no such role admni; did you mean "admin"/);
    expect(compiling).toThrow(/B: no rule/);
  });

  it("Z1 refuses a service that is public", () => {
    const protoRules = rulesFromProto({ descriptorSet: descriptorSet({}, optionOf(field(1, 1))) });
    expect(() => rbac({ protoRules, rules: {} })).toThrow(/"public" is not allowed on a wildcard path/);
  });
});
