// grpc-js's own retries, set up by `retry` (K5).
import { Buffer } from "node:buffer";
import { promises as dns } from "node:dns";
import {
  Metadata,
  Server,
  type ServerCredentials,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { SpanKind } from "@opentelemetry/api";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { ClientChannelOptions } from "../../src/client/client-channel-options.ts";
import type { RetryOptions } from "../../src/client/retry.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";
import { keepMetrics } from "../harness/kept-metrics.ts";
import { registerTracerProvider } from "../harness/spans.ts";
import { inTime } from "../harness/time.ts";
import { calls, kinds, OrdersClient, tlsFor } from "./orders.ts";

let ca: CertificateAuthority;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  ca = await createCertificateAuthority();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Failing {
  readonly port: number;
  /** When each attempt came, by the monotonic clock, and what it said of those before. */
  readonly attempts: { readonly at: number; readonly previous: unknown }[];
}

interface Failure {
  readonly code: status;
  /** So many attempts fail; the next ones are answered. */
  readonly times?: number;
  readonly pushback?: string;
  readonly headersFirst?: boolean;
}

/** A server whose calls of every kind fail as they are told. */
async function failing({ code, times = 100, pushback, headersFirst = false }: Failure): Promise<Failing> {
  const attempts: Failing["attempts"] = [];
  type Call = NodeJS.EventEmitter & {
    metadata: Metadata;
    sendMetadata(metadata: Metadata): void;
    end(): void;
    resume(): void;
  };
  const fails = (call: Call): Error | undefined => {
    attempts.push({ at: performance.now(), previous: call.metadata.get("grpc-previous-rpc-attempts")[0] });
    if (headersFirst) call.sendMetadata(new Metadata());
    if (attempts.length > times) return undefined;
    const metadata = new Metadata();
    if (pushback !== undefined) metadata.set("grpc-retry-pushback-ms", pushback);
    return Object.assign(new Error("failed"), { code, details: "failed", metadata });
  };
  const answering = (call: Call, answer: (error: unknown, value?: unknown) => void): void => {
    const error = fails(call);
    answer(error ?? null, error === undefined ? {} : undefined);
  };
  const streaming = (call: Call): void => {
    const error = fails(call);
    if (error === undefined) call.end();
    else call.emit("error", error);
  };
  const server = new Server();
  server.addService(OrdersClient.service, {
    getOrder: answering,
    uploadOrders(call: Call, answer: (error: unknown, value?: unknown) => void) {
      call.resume();
      call.on("end", () => answering(call, answer));
    },
    listOrders: streaming,
    watchOrders(call: Call) {
      call.resume();
      call.on("end", () => streaming(call));
    },
  } as unknown as UntypedServiceImplementation);
  const credentials: ServerCredentials = await tlsFor(ca, ["localhost"]);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  closing.push(() => server.forceShutdown());
  return { port, attempts };
}

const quick: RetryOptions = { initialBackoffMs: 1, maxBackoffMs: 2 };

function clientOf(
  { port }: { readonly port: number },
  options: SecureClientOptions,
  host = "127.0.0.1",
): OrdersClient {
  const client = createSecureClient(OrdersClient, `${host}:${port}`, {
    tls: { ca: Buffer.from(ca.caPem) },
    ...options,
  });
  closing.push(() => client.close());
  return client;
}

function problemsOf(options: unknown): readonly string[] {
  try {
    createSecureClient(OrdersClient, "127.0.0.1:1", options as SecureClientOptions).close();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe("K5 retry", () => {
  it.each(kinds)("%s: is made again after UNAVAILABLE, three times at most", async (kind) => {
    const server = await failing({ code: status.UNAVAILABLE });
    const told = await calls[kind](clientOf(server, { retry: quick }), new Metadata(), {
      deadline: inTime(),
    });
    expect(told.code).toBe(status.UNAVAILABLE);
    expect(server.attempts.map(({ previous }) => previous)).toEqual([undefined, "1", "2"]);
  });

  it.each(kinds)("%s: answers as the attempt that succeeds", async (kind) => {
    const server = await failing({ code: status.UNAVAILABLE, times: 2 });
    const client = clientOf(server, { retry: {} });
    expect((await calls[kind](client, new Metadata(), { deadline: inTime() })).code).toBe(status.OK);
    expect(server.attempts).toHaveLength(3);
  });

  it.each([undefined, false] as const)("is off with %s", async (retry) => {
    const server = await failing({ code: status.UNAVAILABLE });
    await calls.unary(clientOf(server, { retry }), new Metadata(), {});
    expect(server.attempts).toHaveLength(1);
  });

  it("makes as many attempts as it says", async () => {
    const server = await failing({ code: status.UNAVAILABLE });
    const client = clientOf(server, { retry: { ...quick, maxAttempts: 5 } });
    await calls.unary(client, new Metadata(), { deadline: inTime() });
    expect(server.attempts).toHaveLength(5);
  });

  it.each([status.RESOURCE_EXHAUSTED, status.ABORTED] as const)(
    "follows status %i where it is listed",
    async (code) => {
      const server = await failing({ code });
      await calls.unary(clientOf(server, { retry: quick }), new Metadata(), { deadline: inTime() });
      expect(server.attempts).toHaveLength(1);
      await calls.unary(clientOf(server, { retry: { ...quick, codes: [code] } }), new Metadata(), {
        deadline: inTime(),
      });
      expect(server.attempts).toHaveLength(4);
    },
  );

  it("does not happen where an answer began", async () => {
    const server = await failing({ code: status.UNAVAILABLE, headersFirst: true });
    await calls.unary(clientOf(server, { retry: quick }), new Metadata(), {});
    expect(server.attempts).toHaveLength(1);
  });

  it("does not happen where the server forbids it", async () => {
    const server = await failing({ code: status.UNAVAILABLE, pushback: "-1" });
    await calls.unary(clientOf(server, { retry: quick }), new Metadata(), {});
    expect(server.attempts).toHaveLength(1);
  });

  it("waits as long as the server says", async () => {
    const server = await failing({ code: status.UNAVAILABLE, pushback: "300", times: 1 });
    const client = clientOf(server, { retry: quick });
    expect((await calls.unary(client, new Metadata(), { deadline: inTime() })).code).toBe(status.OK);
    const [first, second] = server.attempts.map(({ at }) => at);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThan(290);
  });

  it("ends with the call's deadline", async () => {
    const server = await failing({ code: status.UNAVAILABLE, pushback: "600000" });
    const told = await calls.unary(clientOf(server, { retry: quick, deadlineMs: 500 }), new Metadata(), {});
    expect(told.code).toBe(status.DEADLINE_EXCEEDED);
  });

  it("is one call for its spans and metrics", async () => {
    const spans = registerTracerProvider();
    const metrics = keepMetrics();
    try {
      const server = await failing({ code: status.UNAVAILABLE, times: 2 });
      await calls.unary(clientOf(server, { retry: quick }), new Metadata(), { deadline: inTime() });
      await spans.one(({ kind }) => kind === SpanKind.CLIENT);
      expect(spans.all()).toHaveLength(1);
      expect(await metrics.points("grpc.client.call.duration")).toMatchObject([
        { attributes: { "grpc.status": "OK" }, value: 1 },
      ]);
    } finally {
      await spans.shutdown();
      await metrics.close();
    }
  });
});

describe("K5 a service config in DNS", () => {
  /** Stands for whoever answers the TXT question, which nothing authenticates. */
  function forge(methodConfig: object): { readonly asked: () => number } {
    const config = [{ serviceConfig: { methodConfig: [{ name: [{}], ...methodConfig }] } }];
    const spy = vi.spyOn(dns, "resolveTxt").mockResolvedValue([[`grpc_config=${JSON.stringify(config)}`]]);
    closing.push(() => spy.mockRestore());
    return { asked: () => spy.mock.calls.length };
  }

  const retryPolicy = {
    maxAttempts: 5,
    initialBackoff: "0.001s",
    maxBackoff: "0.001s",
    backoffMultiplier: 1,
    retryableStatusCodes: ["UNAVAILABLE"],
  };
  const hedgingPolicy = { maxAttempts: 5, hedgingDelay: "0.001s", nonFatalStatusCodes: ["UNAVAILABLE"] };
  const policies: readonly [string, object][] = [
    ["retries", { retryPolicy }],
    ["hedging", { hedgingPolicy }],
  ];

  it.each(policies)("does not bring %s that the program did not ask for", async (_what, policy) => {
    const forged = forge(policy);
    const server = await failing({ code: status.UNAVAILABLE });
    for (const channelOptions of [{}, { "grpc.service_config_disable_resolution": 1 }] as const) {
      server.attempts.length = 0;
      const client = clientOf(server, { channelOptions }, "localhost");
      await calls.unary(client, new Metadata(), { deadline: inTime() });
      expect(server.attempts).toHaveLength(1);
    }
    expect(forged.asked()).toBe(0);
  });

  it("does not bring a timeout", async () => {
    forge({ timeout: "0.000000001s" });
    const server = await failing({ code: status.UNAVAILABLE, times: 0 });
    const client = clientOf(server, {}, "localhost");
    expect((await calls.unary(client, new Metadata(), { deadline: inTime() })).code).toBe(status.OK);
  });

  it("does not take the place of retry", async () => {
    const forged = forge({ retryPolicy });
    const server = await failing({ code: status.UNAVAILABLE });
    const client = clientOf(server, { retry: quick }, "localhost");
    await calls.unary(client, new Metadata(), { deadline: inTime() });
    expect(server.attempts).toHaveLength(3);
    expect(forged.asked()).toBe(0);
  });

  it("is read where the program asks for it", async () => {
    const forged = forge({ retryPolicy });
    const server = await failing({ code: status.UNAVAILABLE });
    const channelOptions = { "grpc.service_config_disable_resolution": 0 } as const;
    const client = clientOf(server, { channelOptions }, "localhost");
    await calls.unary(client, new Metadata(), { deadline: inTime() });
    expect(server.attempts).toHaveLength(5);
    expect(forged.asked()).toBe(1);
  });
});

describe("K5 retry refuses", () => {
  const codes: readonly [status, string][] = [
    [status.OK, "OK is no failure"],
    [status.CANCELLED, "CANCELLED is what the caller asked for"],
    [status.UNKNOWN, "after UNKNOWN the call may have been done"],
    [status.INVALID_ARGUMENT, "the answer would be INVALID_ARGUMENT again"],
    [
      status.DEADLINE_EXCEEDED,
      "there is no time left after DEADLINE_EXCEEDED, and the call may have been done",
    ],
    [status.NOT_FOUND, "the answer would be NOT_FOUND again"],
    [status.ALREADY_EXISTS, "the answer would be ALREADY_EXISTS again"],
    [status.PERMISSION_DENIED, "the answer would be PERMISSION_DENIED again"],
    [status.FAILED_PRECONDITION, "the answer would be FAILED_PRECONDITION again"],
    [status.OUT_OF_RANGE, "the answer would be OUT_OF_RANGE again"],
    [status.UNIMPLEMENTED, "the answer would be UNIMPLEMENTED again"],
    [status.INTERNAL, "after INTERNAL the call may have been done"],
    [status.DATA_LOSS, "after DATA_LOSS the call may have been done"],
    [status.UNAUTHENTICATED, "the answer would be UNAUTHENTICATED again"],
  ];

  it.each(codes)("code %i", (code, why) => {
    expect(problemsOf({ retry: { codes: [code] } })).toEqual([
      expect.stringMatching(new RegExp(`^retry\\.codes\\.0: ${why}; expected status\\.UNAVAILABLE`)),
    ]);
  });

  const mistakes: readonly [string, unknown, RegExp][] = [
    ["one attempt", { maxAttempts: 1 }, /^retry\.maxAttempts: must be at least 2/],
    ["more than five attempts", { maxAttempts: 6 }, /^retry\.maxAttempts: must be at most 5/],
    ["half an attempt", { maxAttempts: 2.5 }, /^retry\.maxAttempts: expected a whole number/],
    ["no backoff", { initialBackoffMs: 0 }, /^retry\.initialBackoffMs: must be at least 1/],
    ["no code", { codes: [] }, /^retry\.codes: expected at least 1 entry/],
    ["the name of a code", { codes: ["UNAVAILABLE"] }, /^retry\.codes\.0: expected status\.UNAVAILABLE/],
    ["a number that is no code", { codes: [99] }, /^retry\.codes\.0: expected status\.UNAVAILABLE/],
    ["an unknown option", { attempts: 3 }, /^retry\.attempts: unknown option/],
    ["true", true, /^retry: expected/],
  ];

  it.each(mistakes)("%s", (_name, retry, problem) => {
    expect(problemsOf({ retry })).toEqual([expect.stringMatching(problem)]);
  });

  const conflicts: readonly [ClientChannelOptions, RegExp][] = [
    [{ "grpc.service_config": "{}" } as ClientChannelOptions, /service_config: cannot be given with retry/],
    [{ "grpc.service_config_disable_resolution": 0 } as ClientChannelOptions, /would replace retry/],
    [{ "grpc.enable_retries": 0 } as ClientChannelOptions, /enable_retries: turns retry off/],
    [{ "grpc-node.retry_max_attempts_limit": 2 } as ClientChannelOptions, /is less than retry\.maxAttempts/],
  ];

  it.each(conflicts)("the channel options %o beside it", (channelOptions, problem) => {
    expect(problemsOf({ retry: {}, channelOptions })).toEqual([expect.stringMatching(problem)]);
    expect(problemsOf({ channelOptions })).toEqual([]);
  });
});
