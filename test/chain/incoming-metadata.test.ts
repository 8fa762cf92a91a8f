// A call's metadata says what grpc-js's own reading of the same headers says, whether or not it was taken apart yet.
import type { IncomingHttpHeaders } from "node:http2";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it, vi } from "vitest";
import { incomingMetadata, knowsMetadata } from "../../src/chain/seam/incoming-metadata.ts";

const takenOut = [
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  "accept-encoding",
  "te",
  "content-type",
];

/** As grpc-js hands it on. */
function asGrpcJs(headers: IncomingHttpHeaders): Metadata {
  const metadata = Metadata.fromHttp2Headers(headers);
  for (const name of takenOut) metadata.remove(name);
  return metadata;
}

function received(fields: Readonly<Record<string, string | string[]>>): IncomingHttpHeaders {
  return Object.assign(Object.create(null) as IncomingHttpHeaders, {
    ":method": "POST",
    ":path": "/kinds.v1.Kinds/Unary",
    ":authority": "localhost",
    te: "trailers",
    "content-type": "application/grpc",
    "grpc-encoding": "identity",
    "grpc-accept-encoding": "identity,gzip",
    "accept-encoding": "identity",
    ...fields,
  });
}

const binary = Buffer.from([0, 1, 254, 255]).toString("base64");
const fields: readonly (readonly [string, Readonly<Record<string, string | string[]>>])[] = [
  ["nothing of its own", {}],
  ["plain fields", { authorization: "Bearer x", "user-agent": "a/1", "x-request-id": "7" }],
  ["an empty value", { authorization: "" }],
  ["one field twice", { authorization: ["Bearer x", "Bearer y"], cookie: ["a", "b"] }],
  ["a value with commas", { "x-list": "a, b,c" }],
  ["binary values", { "trace-bin": binary, "more-bin": `${binary}, ${binary}`, "grpc-trace-bin": binary }],
  ["binary values apart", { "trace-bin": [binary, binary] }],
  ["names that objects have", { constructor: "c", "__proto__-x": "p", tostring: "t" }],
];
const keys = [
  "authorization",
  "Authorization",
  "user-agent",
  "x-request-id",
  "cookie",
  "x-list",
  "trace-bin",
  "more-bin",
  "grpc-trace-bin",
  "constructor",
  "tostring",
  "hasOwnProperty",
  "__proto__",
  ":path",
  ":authority",
  ...takenOut,
];

type Reading = (metadata: Metadata) => unknown;
const readings: readonly (readonly [string, Reading])[] = [
  ["get", (metadata) => keys.map((key) => metadata.get(key))],
  ["getMap", (metadata) => metadata.getMap()],
  ["toJSON", (metadata) => JSON.stringify(metadata)],
  ["toHttp2Headers", (metadata) => metadata.toHttp2Headers()],
  ["clone", (metadata) => metadata.clone().toJSON()],
  [
    "merge into another",
    (metadata) => {
      const other = new Metadata();
      other.set("authorization", "own");
      other.merge(metadata);
      return other.toJSON();
    },
  ],
  [
    "set, add and remove",
    (metadata) => {
      metadata.set("x-own", "1");
      metadata.add("authorization", "more");
      metadata.remove("User-Agent");
      metadata.remove("x-never-sent");
      return [keys.map((key) => metadata.get(key)), metadata.toJSON()];
    },
  ],
  [
    "remove first",
    (metadata) => {
      metadata.remove("Authorization");
      return [metadata.get("authorization"), metadata.get("x-request-id"), metadata.toJSON()];
    },
  ],
  [
    "options",
    (metadata) => {
      const before = metadata.getOptions();
      metadata.setOptions({ waitForReady: true });
      return [before, metadata.getOptions()];
    },
  ],
  [
    "opaque data",
    (metadata) => {
      metadata.setOpaque("a", 1);
      return [metadata.getOpaque("a"), metadata.getOpaque("b")];
    },
  ],
];

describe.each(fields)("with %s", (_name, own) => {
  it.each(readings)("C10 %s answers as grpc-js's own", (_reading, read) => {
    expect(read(incomingMetadata(received(own)))).toEqual(read(asGrpcJs(received(own))));
  });

  it.each(readings)("C10 %s answers the same once it was taken apart", (_reading, read) => {
    const metadata = incomingMetadata(received(own));
    metadata.getMap();
    expect(read(metadata)).toEqual(read(asGrpcJs(received(own))));
  });
});

it("is a Metadata, and is not taken apart by those who read single fields", () => {
  const metadata = incomingMetadata(received({ authorization: "Bearer x" }));
  const apart = vi.spyOn(Metadata, "fromHttp2Headers");
  try {
    expect(metadata).toBeInstanceOf(Metadata);
    expect(metadata.get("authorization")).toEqual(["Bearer x"]);
    metadata.remove("x-user-id");
    expect(apart).not.toHaveBeenCalled();
    metadata.getMap();
    metadata.getMap();
    expect(apart).toHaveBeenCalledTimes(1);
  } finally {
    apart.mockRestore();
  }
});

it("knows where this grpc-js's Metadata keeps its values", () => {
  expect(knowsMetadata()).toBe(true);
});
