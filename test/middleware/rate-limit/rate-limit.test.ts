import { Metadata, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Call, setIdentity } from "../../../src/chain/context.ts";
import type { Middleware, Outcome } from "../../../src/chain/middleware.ts";
import { anonymousPrincipal, type Principal } from "../../../src/chain/principal.ts";
import { ConfigError, StatusError } from "../../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo } from "../../../src/grpc/method.ts";
import {
  peerRateLimit,
  principalRateLimit,
  type RateLimitOptions,
  rateLimit,
  rateLimitSchema,
} from "../../../src/middleware/rate-limit/rate-limit.ts";

const get = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);
const outcome: Outcome = {
  code: status.OK,
  details: "",
  endedBy: "handler",
  delivered: true,
  durationMs: 1,
  receivedBytes: 0,
  sentBytes: 0,
};
const none: ReadonlySet<string> = new Set();
const user = (subject: string): Principal => ({
  subject,
  kind: "user",
  scheme: "jwt",
  roles: none,
  permissions: none,
  claims: {},
});

interface Caller {
  readonly address?: string;
  readonly principal?: Principal;
  readonly method?: MethodInfo;
}

function callFrom({ address = "192.0.2.1", principal, method = get }: Caller): Call {
  const call = new Call({
    method,
    peer: { address, port: 1, secure: true, certificate: undefined },
    metadata: new Metadata(),
    metadataBytes: 0,
    timeoutMs: undefined,
    logger: pino({ enabled: false }),
  });
  if (principal !== undefined) setIdentity(call, { principal });
  return call;
}

/** `OK` or the text of the refusal. */
function enter(layer: Middleware, caller: Caller | Call): string {
  try {
    expect(layer.onCall?.(caller instanceof Call ? caller : callFrom(caller))).toBeUndefined();
    return "OK";
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    return error.details;
  }
}

const over = "rate limit exceeded";
const crowded = "too many calls in flight";
const two = { points: 2, durationSec: 1000 };

describe("L1 the peer limit", () => {
  it("L1 counts an address before anybody is known, and IPv6 by /64", () => {
    const layer = peerRateLimit({ perPeer: two });
    const addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"];
    expect(addresses.map((address) => enter(layer, { address }))).toEqual(["OK", "OK", over, "OK"]);
  });

  it("L1 one hostile peer does not block another", () => {
    const layer = peerRateLimit({ perPeer: two });
    for (let i = 0; i < 100; i += 1) enter(layer, { address: "192.0.2.1" });
    expect(enter(layer, { address: "192.0.2.2" })).toBe("OK");
  });

  it("L1 tells the caller when to come back, in three ways", () => {
    const layer = peerRateLimit({ perPeer: { points: 1, durationSec: 1, blockDurationSec: 2.5 } });
    enter(layer, {});
    try {
      layer.onCall?.(callFrom({}));
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      expect(error.metadata?.get("retry-after")).toEqual(["3"]);
      expect(error.metadata?.get("grpc-retry-pushback-ms")).toEqual(["2500"]);
      expect(error.errorDetails).toEqual([{ type: "google.rpc.RetryInfo", retryDelayMs: 2500 }]);
      return;
    }
    expect.unreachable("the second call was let in");
  });

  it("L1 says at least one second, and a pushback that 32 bits hold", () => {
    const told = (blockDurationSec: number): unknown[] => {
      const layer = peerRateLimit({ perPeer: { points: 1, durationSec: 1, blockDurationSec } });
      enter(layer, {});
      try {
        layer.onCall?.(callFrom({}));
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        return ["retry-after", "grpc-retry-pushback-ms"].flatMap((key) => error.metadata?.get(key) ?? []);
      }
      return [];
    };
    expect(told(0.001)).toEqual(["1", "1"]);
    expect(told(30 * 86_400)).toEqual([String(30 * 86_400), "2147483647"]);
  });
});

describe("L1 the principal limit", () => {
  it("L1 counts a principal from wherever it calls", () => {
    const layer = principalRateLimit({ perPrincipal: two });
    const ada = user("ada");
    const answers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address) =>
      enter(layer, { address, principal: ada }),
    );
    expect(answers).toEqual(["OK", "OK", over]);
    expect(enter(layer, { principal: user("bob") })).toBe("OK");
  });

  it("L1 tells anonymous callers apart by their peer", () => {
    const layer = principalRateLimit({ perPrincipal: two });
    const from = (address: string): string => enter(layer, { address, principal: anonymousPrincipal });
    expect([from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2")]).toEqual([
      "OK",
      "OK",
      over,
      "OK",
    ]);
  });

  it("L1 no subject can be named so that it shares a peer's counter", () => {
    const layer = principalRateLimit({ perPrincipal: two });
    for (let i = 0; i < 3; i += 1) enter(layer, { principal: user("ip:192.0.2.1") });
    expect(enter(layer, { principal: anonymousPrincipal })).toBe("OK");
  });

  it("L10 tells subjects apart that are longer than a key may be", () => {
    const layer = principalRateLimit({ perPrincipal: two });
    const long = "x".repeat(8000);
    const answers = ["a", "a", "a", "b"].map((end) => enter(layer, { principal: user(long + end) }));
    expect(answers).toEqual(["OK", "OK", over, "OK"]);
  });
});

describe("L2 calls in flight", () => {
  it("L2 a principal has so many calls at once, and a new one when one ended", () => {
    const layer = principalRateLimit({ inFlightPerPrincipal: 2, perPrincipal: false });
    const ada = { principal: user("ada") };
    const first = callFrom(ada);
    expect([enter(layer, first), enter(layer, ada), enter(layer, ada)]).toEqual(["OK", "OK", crowded]);
    expect(enter(layer, { principal: user("bob") })).toBe("OK");
    layer.onEnd?.(first, outcome);
    expect([enter(layer, ada), enter(layer, ada)]).toEqual(["OK", crowded]);
  });

  it("C11 a refused call gives back nothing that it did not take", () => {
    const layer = principalRateLimit({
      inFlightPerPrincipal: 1,
      perPrincipal: { points: 3, durationSec: 1000 },
    });
    const ada = { principal: user("ada") };
    const running = callFrom(ada);
    expect(enter(layer, running)).toBe("OK");
    for (const text of [crowded, crowded, over, over]) {
      const refused = callFrom(ada);
      expect(enter(layer, refused)).toBe(text);
      layer.onEnd?.(refused, outcome);
    }
    const still = principalRateLimit({ inFlightPerPrincipal: 1, perPrincipal: false });
    const one = callFrom(ada);
    enter(still, one);
    const refused = callFrom(ada);
    expect(enter(still, refused)).toBe(crowded);
    still.onEnd?.(refused, outcome);
    expect(enter(still, ada)).toBe(crowded);
  });

  it("C11 a call gives back once, however often it ends", () => {
    const layer = principalRateLimit({ inFlightPerPrincipal: 2, perPrincipal: false });
    const ada = { principal: user("ada") };
    const first = callFrom(ada);
    enter(layer, first);
    enter(layer, ada);
    layer.onEnd?.(first, outcome);
    layer.onEnd?.(first, outcome);
    expect([enter(layer, ada), enter(layer, ada)]).toEqual(["OK", crowded]);
  });

  it("C11 two layers on one call each give back their own", () => {
    const narrow = principalRateLimit({ inFlightPerPrincipal: 1, perPrincipal: false });
    const wide = principalRateLimit({ inFlightPerPrincipal: 1, perPrincipal: false });
    const ada = { principal: user("ada") };
    const call = callFrom(ada);
    enter(narrow, call);
    enter(wide, call);
    wide.onEnd?.(call, outcome);
    narrow.onEnd?.(call, outcome);
    expect([enter(narrow, ada), enter(wide, ada)]).toEqual(["OK", "OK"]);
  });
});

describe("rateLimit on its own", () => {
  it("L1 limits the peer, and the principal where there is one", () => {
    const layer = rateLimit({
      perPeer: { points: 3, durationSec: 1000 },
      perPrincipal: { points: 1, durationSec: 1000 },
    });
    expect([enter(layer, {}), enter(layer, {})]).toEqual(["OK", "OK"]);
    const ada = user("ada");
    const from = (address: string): string => enter(layer, { address, principal: ada });
    expect([from("192.0.2.8"), from("192.0.2.9")]).toEqual(["OK", over]);
  });

  it("L2 gives back what it took", () => {
    const layer = rateLimit({ inFlightPerPrincipal: 1 });
    const call = callFrom({ principal: user("ada") });
    enter(layer, call);
    expect(enter(layer, { principal: user("ada") })).toBe(crowded);
    layer.onEnd?.(call, outcome);
    expect(enter(layer, { principal: user("ada") })).toBe("OK");
  });
});

describe("where limits apply, and their options", () => {
  const probe = methodInfo("/grpc.health.v1.Health/Watch", "server_stream", true);
  const unknown = methodInfo("/orders.v1.Orders/Nothing", "unary", false);
  it.each([rateLimit(), peerRateLimit(), principalRateLimit()])(
    "A10 $name has no part in health probes, and one in unknown methods",
    (layer) => {
      expect([probe, get, unknown].map((one) => layer.appliesTo?.(one))).toEqual([false, true, true]);
    },
  );

  it("L1 a limit that is off has no part in anything", () => {
    expect(peerRateLimit({ perPeer: false }).appliesTo?.(get)).toBe(false);
    expect(principalRateLimit({ perPrincipal: false, inFlightPerPrincipal: false }).appliesTo?.(get)).toBe(
      false,
    );
    expect(principalRateLimit({ perPrincipal: false }).appliesTo?.(get)).toBe(true);
    expect(
      enter(principalRateLimit({ perPrincipal: two, inFlightPerPrincipal: false }), { principal: user("a") }),
    ).toBe("OK");
  });

  it("L1 L2 has the defaults that are promised, and takes them back as options", () => {
    const defaults = rateLimitSchema.parse({});
    expect(defaults).toEqual({
      perPeer: { points: 1000, durationSec: 1 },
      perPrincipal: { points: 500, durationSec: 1 },
      failedAuthentication: { points: 20, durationSec: 60, blockDurationSec: 300 },
      inFlightPerPrincipal: 200,
      messagesPerStream: false,
    });
    expect(rateLimitSchema.parse(defaults)).toEqual(defaults);
  });

  const bad: readonly (readonly [unknown, string])[] = [
    [{ perPeer: { points: 0, durationSec: 1 } }, "rateLimit.perPeer.points"],
    [{ perPeer: { points: 1.5, durationSec: 1 } }, "rateLimit.perPeer.points"],
    [{ perPeer: { points: 1 } }, "rateLimit.perPeer.durationSec"],
    [{ perPeer: { points: 1, durationSec: 0 } }, "rateLimit.perPeer.durationSec"],
    [{ perPeer: { points: 1, durationSec: Number.POSITIVE_INFINITY } }, "rateLimit.perPeer.durationSec"],
    [{ perPeer: { points: 1, durationSec: Number.NaN } }, "rateLimit.perPeer.durationSec"],
    [
      { perPrincipal: { points: 1, durationSec: 1, blockDurationSec: -1 } },
      "rateLimit.perPrincipal.blockDurationSec",
    ],
    [{ perPrincipal: { points: 1, durationSec: 1, burst: 1 } }, "rateLimit.perPrincipal.burst"],
    [{ perPrincipal: true }, "rateLimit.perPrincipal"],
    [{ inFlightPerPrincipal: 0 }, "rateLimit.inFlightPerPrincipal"],
    [{ failedAuthentication: 20 }, "rateLimit.failedAuthentication"],
    [
      { messagesPerStream: { points: 1, durationSec: 1, blockDurationSec: 1 } },
      "rateLimit.messagesPerStream.blockDurationSec",
    ],
    [{ messagesPerStream: 1 }, "rateLimit.messagesPerStream"],
    [{ store: {} }, "rateLimit.store"],
  ];
  it.each(bad)("L1 refuses %j by name", (options, path) => {
    for (const factory of [rateLimit, peerRateLimit, principalRateLimit]) {
      try {
        factory(options as RateLimitOptions);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        expect((error as ConfigError).problems.some((one) => one.startsWith(`${path}:`))).toBe(true);
        continue;
      }
      expect.unreachable("the options were taken");
    }
  });
});
