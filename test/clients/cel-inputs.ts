// Requests and callers about which conditions are asked beside cel-go: full, empty, and with values at the ends of their types.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { CallContext } from "../../src/chain/context.ts";
import type { Principal } from "../../src/chain/principal.ts";
import { type MethodInfo, methodInfo, requestDefinition } from "../../src/grpc/method.ts";
import { callFrom } from "../middleware/ended-call.ts";
import { protoDirectory } from "./interop-service.ts";

export const everyKindSet: Uint8Array = readFileSync(join(protoDirectory, "every-kind.binpb"));

const loaded = loadSync(join(protoDirectory, "every-kind.proto"), {
  longs: String,
  oneofs: true,
  defaults: true,
  keepCase: true,
});
const definition = (loaded["kinds.v1.Kinds"] as unknown as ServiceDefinition)["Ask"];
if (definition === undefined) throw new Error("there is a method Ask");
const { path, requestSerialize, requestDeserialize } = definition;

/** As a service of proto-loader is registered. */
export const askKinds: MethodInfo = methodInfo(path, "unary", true, requestDefinition(definition));
/** The same of a generator that tells nothing of the types. */
export const askUntold: MethodInfo = methodInfo(path, "unary", true, { serialize: requestSerialize });

/** What a condition is asked about. */
export interface Asked {
  readonly call: CallContext;
  /** As the handler gets it. */
  readonly message: unknown;
  /** The same for cel-go. */
  readonly input: unknown;
}

export const metadataNames: readonly string[] = ["x-region", "x-team", "x-none"];
export const now: Date = new Date("2026-03-04T05:06:07.089Z");

interface About {
  readonly message: unknown;
  readonly method: MethodInfo;
  readonly bytes: Uint8Array;
  readonly principal?: Principal;
  readonly actor?: Principal;
  readonly metadata?: Readonly<Record<string, string>>;
}

export function askedAbout({ message, method, bytes, principal, actor, metadata = {} }: About): Asked {
  const call = callFrom({
    method,
    metadata,
    ...(principal === undefined ? {} : { principal }),
    ...(actor === undefined ? {} : { actor }),
  });
  const { service, name, kind } = method;
  return {
    call,
    message,
    input: {
      request: Buffer.from(bytes).toString("base64"),
      principal: partyInput(principal),
      actor: partyInput(actor),
      method: { path: method.path, service, name, kind },
      peer: { address: call.peer.address, secure: call.peer.secure },
      metadata: Object.fromEntries(Object.entries(metadata).filter(([each]) => metadataNames.includes(each))),
      now: now.toISOString(),
    },
  };
}

function partyInput(who: Principal | undefined): unknown {
  return who === undefined
    ? {}
    : { ...who, roles: [...who.roles], permissions: [...who.permissions], expiresAt: undefined };
}

function about(request: object, who: Pick<About, "principal" | "actor" | "metadata">): Asked {
  const message: unknown = requestDeserialize(requestSerialize(request));
  return askedAbout({ message, method: askKinds, bytes: requestSerialize(message), ...who });
}

const alice: Principal = {
  subject: "alice",
  kind: "user",
  scheme: "jwt",
  issuer: "https://id.example",
  tenant: "acme",
  roles: new Set(["admin", "clerk"]),
  permissions: new Set(["order:read"]),
  claims: {
    level: 3,
    ratio: 0.5,
    dept: { id: "d7", tags: ["a", "b"] },
    list: ["a", 1, null],
    yes: true,
    nothing: null,
  },
};
const nobody: Principal = {
  subject: "",
  kind: "service",
  scheme: "mtls",
  roles: new Set(),
  permissions: new Set(),
  claims: {},
};

const full = {
  flag: true,
  int32: 7,
  int64: "41",
  uint32: 7,
  uint64: "42",
  sint32: -7,
  sint64: "-41",
  fixed32: 1,
  fixed64: "2",
  sfixed32: -1,
  sfixed64: "-2",
  float: 1.5,
  double: 2.5,
  text: "alice",
  data: Buffer.from("hi"),
  state: "OPEN",
  part: {
    owner: "alice",
    amount: "5",
    part: { owner: "inner" },
    tags: ["x", "y"],
    state: 2,
    at: { seconds: "60" },
  },
  maybe_flag: false,
  maybe_int: "0",
  maybe_text: "",
  maybe_state: "CLOSED",
  user: "bob",
  flags: [true, false],
  ints: ["1", "2", "3"],
  uints: ["1", "2"],
  doubles: [1, 1.5, -0.5],
  texts: ["a", "bb", "alice"],
  datas: [Buffer.from("a"), Buffer.alloc(0)],
  states: ["NEW", "CLOSED"],
  parts: [
    { owner: "a", amount: "5" },
    { owner: "alice", amount: "7", tags: ["x"] },
  ],
  times: [{ seconds: "0" }, { seconds: "1000" }],
  labels: { region: "eu", empty: "" },
  counts: { a: "1", b: "2" },
  names: { 7: "seven", "-1": "minus" },
  numbered: { 1: { owner: "one" }, 2: { owner: "alice", amount: "9" } },
  rates: { 1: 0.5, 2: 1 },
  answers: { true: "yes" },
  states_by_name: { first: "OPEN" },
  at: { seconds: "1700000000", nanos: 123_456_789 },
  lasts: { seconds: "90", nanos: 500_000_000 },
  free: {
    fields: {
      n: { numberValue: 1 },
      s: { stringValue: "x" },
      z: { nullValue: 0 },
      l: { listValue: { values: [{ numberValue: 1 }, { boolValue: true }] } },
    },
  },
  value: { numberValue: 7 },
  list: { values: [{ stringValue: "a" }, { numberValue: 2 }] },
  flag_or_null: { value: true },
  int32_or_null: { value: 7 },
  int64_or_null: { value: "41" },
  uint32_or_null: { value: 7 },
  uint64_or_null: { value: "42" },
  float_or_null: { value: 1.5 },
  double_or_null: { value: 2.5 },
  text_or_null: { value: "alice" },
  data_or_null: { value: Buffer.from("hi") },
};

const extreme = {
  int32: -2_147_483_648,
  int64: "9223372036854775807",
  uint32: 4_294_967_295,
  uint64: "18446744073709551615",
  sint32: 2_147_483_647,
  sint64: "-9223372036854775808",
  fixed64: "9223372036854775808",
  sfixed64: "-9223372036854775808",
  float: Number.POSITIVE_INFINITY,
  double: Number.NaN,
  text: "grüße 👋\u0000\uffff",
  data: Buffer.from([0xff, 0x00, 0xc3]),
  state: 77,
  part: {},
  maybe_int: "-9223372036854775808",
  group: "5",
  ints: ["9223372036854775807", "-9223372036854775808", "0", "0"],
  uints: ["18446744073709551615"],
  doubles: [Number.NaN, Number.NEGATIVE_INFINITY, -0, 1e300, 9_007_199_254_740_992],
  texts: ["", "👋", "\uffff", "a\nb"],
  states: [-1, 77],
  parts: [{}],
  times: [{ seconds: "253402300799", nanos: 999_999_999 }],
  labels: { "": "", ["__proto__"]: "x", toString: "y" },
  numbered: { "-9223372036854775808": {} },
  rates: { "18446744073709551615": Number.POSITIVE_INFINITY },
  answers: { false: "no", true: "yes" },
  at: { seconds: "-62135596800" },
  lasts: { seconds: "-9223372000", nanos: -1 },
  value: { nullValue: 0 },
  list: { values: [] },
  flag_or_null: {},
  int32_or_null: {},
  int64_or_null: { value: "-9223372036854775808" },
  uint64_or_null: { value: "18446744073709551615" },
  double_or_null: { value: Number.NaN },
  text_or_null: {},
  data_or_null: {},
};

const ordinary = {
  int32: 1,
  int64: "1",
  uint64: "1",
  double: 1,
  text: "2026-03-04T05:06:07Z",
  data: Buffer.from("2026"),
  state: "CLOSED",
  other: { owner: "bob", tags: ["a"] },
  maybe_text: "a",
  ints: ["1"],
  uints: ["1"],
  doubles: [1],
  texts: ["1", "1.5", "true", "10s"],
  parts: [
    { owner: "bob", amount: "1", state: "LOST" },
    { owner: "bob", amount: "1", state: "LOST" },
  ],
  labels: { a: "b" },
  counts: { a: "9223372036854775807" },
  at: { seconds: "1772600767", nanos: 89_000_000 },
  lasts: { nanos: -1 },
  free: { fields: { a: { structValue: { fields: { b: { boolValue: false } } } } } },
  value: { stringValue: "1" },
  int64_or_null: { value: "1" },
  text_or_null: { value: "1" },
};

/** Longer than 292 years, which is what cel-go can hold. */
export const longest: Asked = about({ lasts: { seconds: "-315576000000" } }, { principal: nobody });

export const everyKind: readonly Asked[] = [
  about(full, { principal: alice, metadata: { "x-region": "eu", authorization: "Bearer secret" } }),
  about({}, { principal: nobody }),
  about(extreme, {
    principal: { ...nobody, subject: "grüße 👋" },
    actor: alice,
    metadata: { "x-region": "" },
  }),
  about(ordinary, {
    principal: { ...alice, subject: "bob", roles: new Set(["clerk"]), claims: { level: "3", dept: null } },
    actor: nobody,
    metadata: { "x-team": "a,b", "x-region": "us" },
  }),
];
