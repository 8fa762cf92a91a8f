// The variables of a condition: their types, and their values for one call and one message of it.
import type { CelInput } from "@bufbuild/cel";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import type { CallContext } from "../chain/context.ts";
import type { Principal } from "../chain/principal.ts";
import { bufbuild } from "./bufbuild.ts";
import { listOf, mapOf, type Type, types } from "./types.ts";

const party = new Map<string, Type>([
  ["subject", types.string],
  ["kind", types.string],
  ["scheme", types.string],
  ["issuer", types.string],
  ["tenant", types.string],
  ["roles", listOf(types.string)],
  ["permissions", listOf(types.string)],
  ["claims", mapOf(types.string, types.dyn)],
]);

function object(name: string, fields: ReadonlyMap<string, Type>): Type {
  return { kind: "object", name, fields };
}

/** Besides `request`, whose type is the method's. `metadata`: the names that may be read. */
export function variablesWith(metadata: readonly string[]): ReadonlyMap<string, Type> {
  return new Map<string, Type>([
    ...variables,
    ["metadata", { kind: "map", key: types.string, value: types.string, keys: metadata }],
  ]);
}

const variables: ReadonlyMap<string, Type> = new Map<string, Type>([
  ["principal", object("principal", party)],
  ["actor", object("actor", party)],
  [
    "method",
    object(
      "method",
      new Map([
        ["path", types.string],
        ["service", types.string],
        ["name", types.string],
        ["kind", types.string],
      ]),
    ),
  ],
  [
    "peer",
    object(
      "peer",
      new Map<string, Type>([
        ["address", types.string],
        ["secure", types.bool],
      ]),
    ),
  ],
  ["now", types.timestamp],
]);

type Values = Record<string, CelInput>;

export interface Asked {
  readonly call: CallContext;
  readonly request: ReflectMessage;
  /** The names of metadata that may be read, in lower case. */
  readonly metadata: readonly string[];
}

export function valuesFor({ call, request, metadata }: Asked): Values {
  const { path, service, name, kind } = call.method;
  const { address, secure } = call.peer;
  return {
    request,
    principal: partyValue(call.principal),
    actor: partyValue(call.actor),
    method: new Map<string, CelInput>([
      ["path", path],
      ["service", service],
      ["name", name],
      ["kind", kind],
    ]),
    peer: new Map<string, CelInput>([
      ["address", address],
      ["secure", secure],
    ]),
    metadata: metadataValue(call, metadata),
    now: bufbuild().wkt.timestampNow(),
  };
}

const nobody: ReadonlyMap<string, CelInput> = new Map();

/** One credential makes many calls. */
const parties: WeakMap<Principal, ReadonlyMap<string, CelInput>> = new WeakMap();

function partyValue(who: Principal | undefined): ReadonlyMap<string, CelInput> {
  if (who === undefined) return nobody;
  const known = parties.get(who);
  if (known !== undefined) return known;
  const { subject, kind, scheme, issuer, tenant, roles, permissions, claims } = who;
  const value = new Map<string, CelInput>([
    ["subject", subject],
    ["kind", kind],
    ["scheme", scheme],
    ["roles", [...roles]],
    ["permissions", [...permissions]],
    ["claims", jsonValue(claims)],
  ]);
  if (typeof issuer === "string") value.set("issuer", issuer);
  if (typeof tenant === "string") value.set("tenant", tenant);
  parties.set(who, value);
  return value;
}

/** As CEL reads JSON: numbers are doubles. What JSON does not have is left out, so that to read it is an error. */
function jsonValue(value: unknown): CelInput {
  if (Array.isArray(value)) return value.map((element) => jsonValue(element));
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value)
      .filter(([, each]) => isJson(each))
      .map(([name, each]): [string, CelInput] => [name, jsonValue(each)]);
    return new Map(members);
  }
  return isJson(value) ? (value as CelInput) : null;
}

function isJson(value: unknown): boolean {
  return value === null || ["string", "number", "bigint", "boolean", "object"].includes(typeof value);
}

/** Several values of a name are joined with commas (RFC 9110 section 5.3), as one value with a comma looks. */
function metadataValue(call: CallContext, names: readonly string[]): Map<string, CelInput> {
  const value = new Map<string, CelInput>();
  for (const name of names) {
    const sent = call.metadata.get(name);
    if (sent.length > 0) value.set(name, sent.map(String).join(","));
  }
  return value;
}
