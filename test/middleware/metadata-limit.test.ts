import { Metadata, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Call } from "../../src/chain/context.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import {
  type MetadataLimitOptions,
  metadataLimit,
} from "../../src/middleware/metadata-limit/metadata-limit.ts";
import { headerListBytes, readHead } from "../../src/transport/request-head.ts";

function callWith(metadataBytes: number, path: string): Call {
  return new Call({
    method: methodInfo(path, "unary", true),
    peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
    metadata: new Metadata(),
    metadataBytes,
    timeoutMs: undefined,
    logger: pino({ enabled: false }),
  });
}

describe("L5 metadata is limited", () => {
  const order = "/orders.v1.Orders/GetOrder";
  const probe = "/grpc.health.v1.Health/Check";
  const cases: readonly (readonly [number, string, MetadataLimitOptions | undefined, boolean])[] = [
    [0, order, undefined, true],
    [8192, order, undefined, true],
    [8193, order, undefined, false],
    [8193, probe, undefined, false],
    [100, order, { maxMetadataBytes: 100 }, true],
    [101, order, { maxMetadataBytes: 100 }, false],
  ];
  it.each(cases)("L5 %i bytes to %s under %j: let in is %s", (bytes, path, options, letIn) => {
    const layer = metadataLimit(options);
    expect(layer.appliesTo).toBeUndefined();
    try {
      expect(layer.onCall?.(callWith(bytes, path))).toBeUndefined();
    } catch (error) {
      expect(error).toBeInstanceOf(StatusError);
      expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: "metadata too large" });
      expect(letIn).toBe(false);
      return;
    }
    expect(letIn).toBe(true);
  });

  it("L5 of a call over the limit the forwarded certificate is not handed on to be parsed, and not forgotten", () => {
    const fields = [
      "x-forwarded-client-cert",
      "By=spiffe://mesh.example/orders;URI=spiffe://mesh.example/caller",
    ];
    const [name = "", value = ""] = fields;
    const read = (tooLarge: boolean) =>
      readHead({ [name]: value }, fields, { metadataBytes: headerListBytes(fields), tooLarge });
    expect(read(false).forwardedCertificate).toBe(value);
    expect(read(true).forwardedCertificate).toBe("");
    expect(readHead({}, [], { metadataBytes: 0, tooLarge: true }).forwardedCertificate).toBeUndefined();
  });

  it.each([{ maxMetadataBytes: 0 }, { maxMetadataBytes: 1.5 }, { maxMetadataBytes: "8192" }])(
    "L5 refuses %j by name",
    (options) => {
      expect(() => metadataLimit(options as MetadataLimitOptions)).toThrow(ConfigError);
      expect(() => metadataLimit(options as MetadataLimitOptions)).toThrow("limits.maxMetadataBytes: ");
    },
  );
});
