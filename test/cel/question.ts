// A service whose requests have a field of each kind, and conditions asked about them without a server.
import { fileURLToPath } from "node:url";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { type CelOptions, celWith } from "../../src/cel/cel.ts";
import { PolicyError } from "../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo, requestDefinition } from "../../src/grpc/method.ts";
import { alice, callFrom } from "../middleware/ended-call.ts";

const protoFile = fileURLToPath(new URL("./conditions.proto", import.meta.url));
/** `protoc --include_imports --descriptor_set_out=conditions.binpb conditions.proto` */
export const descriptorSet: string = fileURLToPath(new URL("./conditions.binpb", import.meta.url));

const loaded = loadSync(protoFile, { longs: String, oneofs: true, defaults: true, keepCase: true });
export const ConditionsService = loaded["conditions.v1.Conditions"] as unknown as ServiceDefinition;
const definition = ConditionsService["Ask"] as ServiceDefinition[string];

/** As a service of proto-loader is registered. */
export const ask: MethodInfo = methodInfo(definition.path, "unary", true, requestDefinition(definition));
/** The same of a generator that tells nothing of the types. */
export const untold: MethodInfo = methodInfo(definition.path, "unary", true, {
  serialize: definition.requestSerialize,
});

export function decoded(bytes: Uint8Array): unknown {
  return definition.requestDeserialize(Buffer.from(bytes));
}

export function encoded(question: object): Buffer {
  return definition.requestSerialize(question);
}

export const question = {
  owner: "alice",
  amount: "9223372036854775807",
  serial: "18446744073709551615",
  user: "bob",
  parts: [
    { owner: "a", amount: "5" },
    { owner: "b", amount: "7" },
  ],
  labels: { region: "eu" },
  numbered: { 7: { owner: "z" } },
  state: "OPEN",
  at: { seconds: "1000" },
  wrapped: { value: "w" },
  free: { fields: { n: { numberValue: 1 }, s: { stringValue: "x" }, gone: { nullValue: 0 } } },
  data: Buffer.from("hi"),
  ratio: 1.5,
  numbers: [1, 2, 3],
  part: { owner: "p" },
  ready: true,
  lasts: { seconds: "90" },
  level: "HIGH",
  names: ["alice", "bob"],
  text: "grüße 👋",
};

const call = callFrom({
  method: ask,
  principal: {
    ...alice,
    claims: { level: 3, dept: { id: "d7" }, list: ["a", 1], constructor: "x", nothing: null },
  },
  metadata: { "x-region": "eu", authorization: "Bearer secret" },
});

/** What a condition says of a message: true, false, or what is wrong. */
export function said(
  text: string,
  about: object = question,
  { method = ask, ...options }: CelOptions & { readonly method?: MethodInfo } = {},
): unknown {
  try {
    const when = celWith({ metadata: ["x-region", "x-other"], ...options })(text).compile(method);
    return when(call, decoded(encoded(about)));
  } catch (error) {
    return error instanceof PolicyError ? error.problems : String(error);
  }
}
