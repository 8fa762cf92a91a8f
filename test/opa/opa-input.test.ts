// What of a call and a message becomes JSON, and how (Z5).
import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { setIdentity } from "../../src/chain/context.ts";
import { anonymousPrincipal, type Principal } from "../../src/chain/principal.ts";
import { inputOf, UnfitInput } from "../../src/opa/opa-input.ts";
import { incomingCall } from "../middleware/authentication/incoming-call.ts";

const settings = { metadata: [], maxInputBytes: 100_000, hasRequestId: false };

function nested(levels: number): unknown {
  return levels === 0 ? "x" : { more: nested(levels - 1) };
}

describe("a message", () => {
  /** As long.js marks its class. */
  class Long {
    declare readonly __isLong__: true;
    readonly low = 1;
    readonly high = 2_097_152;
    toString(): string {
      return "9007199254740993";
    }
  }
  Object.defineProperty(Long.prototype, "__isLong__", { value: true });
  class OfGoogle {
    readonly array = ["of the library's own"];
    toObject(): object {
      return { id: "7" };
    }
  }
  class OfProtobufjs {
    toJSON(): object {
      return { id: "7", total: "9007199254740993" };
    }
  }

  it.each<[string, unknown, unknown]>([
    [
      "text and numbers",
      { id: "7", total: 1.5, open: true, none: null },
      { id: "7", total: 1.5, open: true, none: null },
    ],
    ["bytes", { body: Buffer.from([0, 255]) }, { body: "AP8=" }],
    ["bytes of a larger buffer", { body: new Uint8Array([9, 0, 255, 9]).subarray(1, 3) }, { body: "AP8=" }],
    ["a bigint", { total: 9_007_199_254_740_993n }, { total: "9007199254740993" }],
    ["a Long", { total: new Long() }, { total: "9007199254740993" }],
    ["a date", { at: new Date(0) }, { at: "1970-01-01T00:00:00.000Z" }],
    ["lists in lists", { a: [[1n], [Buffer.from("x")]] }, { a: [["1"], ["eA=="]] }],
    ["google-protobuf", new OfGoogle(), { id: "7" }],
    ["protobufjs", { order: new OfProtobufjs() }, { order: { id: "7", total: "9007199254740993" } }],
    ["a map", { labels: new Map([["admin", 1n]]) }, { labels: { admin: "1" } }],
    ["nothing", undefined, undefined],
    // A caller must not be able to hide what it sends.
    [
      "a field that is named like Long's mark",
      { __isLong__: true, text: "secret" },
      { __isLong__: true, text: "secret" },
    ],
    ["fields that are named like functions", { toJSON: "a", toObject: "b" }, { toJSON: "a", toObject: "b" }],
  ])("Z5 is seen whole: %s", (_name, request, expected) => {
    const { document, text } = inputOf(incomingCall(), settings, { request });
    expect(document.request).toEqual(expected);
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(document)));
  });

  it.each<[string, unknown]>([
    ["an infinite number", Number.POSITIVE_INFINITY],
    ["a negative infinite number", Number.NEGATIVE_INFINITY],
    ["no number", Number.NaN],
    ["half a character", "\ud800"],
    ["a name of half a character", { "\ud800": 1 }],
    ["a set", new Set(["admin"])],
    ["a buffer that nothing looks into", new ArrayBuffer(4)],
  ])("Z5 is refused with what JSON would change or leave out: %s", (_what, value) => {
    for (const request of [value, { a: [value] }, new Map([["a", value]])])
      expect(() => inputOf(incomingCall(), settings, { request })).toThrow(UnfitInput);
  });

  it("Z5 L11 is looked at no further than the largest input goes", () => {
    let seen = 0;
    class Part {
      toJSON(): object {
        seen += 1;
        return {};
      }
    }
    const request = { parts: Array.from({ length: 1_000_000 }, () => new Part()) };
    expect(() => inputOf(incomingCall(), settings, { request })).toThrow(
      /larger than maxInputBytes \(100000\)/,
    );
    expect(seen).toBeLessThanOrEqual(settings.maxInputBytes);
  });

  it("Z5 has a field __proto__ as any other", () => {
    const { text } = inputOf(incomingCall(), settings, {
      request: JSON.parse('{"__proto__":{"text":"secret"}}'),
    });
    expect(text).toContain('"request":{"__proto__":{"text":"secret"}}');
  });

  it("Z5 is refused where it is nested deeply, or goes in a circle", () => {
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    for (const request of [nested(33), circle])
      expect(() => inputOf(incomingCall(), settings, { request })).toThrow(UnfitInput);
    expect(inputOf(incomingCall(), settings, { request: nested(32) }).document.request).toEqual(nested(32));
  });
});

describe("a call", () => {
  it("Z5 has the headers that are named, each a list, and no other", () => {
    const call = incomingCall({ "x-a": ["1", "2"], "x-b": "3", authorization: "Bearer secret" });
    call.metadata.merge(bytes("x-c-bin"));
    const { document } = inputOf(call, { ...settings, metadata: ["x-a", "x-c-bin", "x-none"] });
    expect(document.metadata).toEqual({ "x-a": ["1", "2"], "x-c-bin": ["AP8="] });
    expect(JSON.stringify(document)).not.toContain("secret");
  });

  it("Z5 has nothing of a principal but what is documented", () => {
    const call = incomingCall();
    const principal = {
      subject: "ada",
      kind: "user",
      scheme: "own",
      roles: new Set(["a"]),
      permissions: new Set(["b:c"]),
      claims: { level: 3n },
      session: "secret",
    } satisfies Principal & { readonly session: string };
    setIdentity(call, { principal });
    expect(inputOf(call, settings).document.principal).toEqual({
      subject: "ada",
      kind: "user",
      scheme: "own",
      roles: ["a"],
      permissions: ["b:c"],
      claims: { level: "3" },
    });
  });

  it("Z5 has no principal where nobody was verified", () => {
    const call = incomingCall();
    setIdentity(call, { principal: anonymousPrincipal });
    expect(inputOf(call, settings).document).not.toHaveProperty("principal");
  });

  it("Z5 leaves out the dates of a certificate that a proxy left out", () => {
    const certificate = {
      forwarded: true,
      name: "till",
      uris: [],
      dnsNames: [],
      commonName: "till",
      serialNumber: "",
      issuer: "",
      fingerprint256: "AA",
      notBefore: Number.NEGATIVE_INFINITY,
      notAfter: Number.POSITIVE_INFINITY,
    } as const;
    const { document } = inputOf(incomingCall({}, { peer: { certificate } }), settings);
    const { notBefore: _, notAfter: __, ...rest } = certificate;
    expect(document.peer.certificate).toEqual(rest);
  });

  it("Z5 counts bytes, not letters", () => {
    const call = incomingCall({ "x-a": "e" });
    const size = Buffer.byteLength(inputOf(call, settings, { request: "é" }).text);
    const exactly = { ...settings, maxInputBytes: size };
    expect(inputOf(call, exactly, { request: "é" }).text).toContain("é");
    expect(() => inputOf(call, { ...settings, maxInputBytes: size - 1 }, { request: "é" })).toThrow(
      UnfitInput,
    );
  });
});

function bytes(name: string): Metadata {
  const metadata = new Metadata();
  metadata.set(name, Buffer.from([0, 255]));
  return metadata;
}
