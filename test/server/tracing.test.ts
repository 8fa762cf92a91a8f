// Spans over real calls of every kind and ending, with the real OpenTelemetry SDK (U6).
import { randomBytes } from "node:crypto";
import { Metadata, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AlwaysOffSampler, type ReadableSpan } from "@opentelemetry/sdk-trace-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { currentContext, securityContext } from "../../src/chain/current-context.ts";
import { StatusError } from "../../src/grpc/errors.ts";
import { invoke, kinds, type Note, paths } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { registerTracerProvider, type Spans } from "../harness/spans.ts";

const secret = "correct-horse-battery";

let spans: Spans;
beforeEach(() => {
  spans = registerTracerProvider();
});
afterEach(() => spans.shutdown());

interface Traced {
  readonly traceId: string;
  readonly parentId: string;
  readonly traceparent: string;
}

function newTrace(flags = "01"): Traced {
  const traceId = randomBytes(16).toString("hex");
  const parentId = randomBytes(8).toString("hex");
  return { traceId, parentId, traceparent: `00-${traceId}-${parentId}-${flags}` };
}

const everyHandler = (handler: unknown): UntypedServiceImplementation =>
  ({
    unary: handler,
    clientStream: handler,
    serverStream: handler,
    bidiStream: handler,
  }) as unknown as UntypedServiceImplementation;

function facts(span: ReadableSpan): unknown {
  const { "network.peer.port": port, ...attributes } = span.attributes;
  expect(port).toBeGreaterThan(0);
  return { name: span.name, kind: span.kind, status: span.status.code, attributes };
}

const base = {
  "rpc.system.name": "grpc",
  "network.peer.address": "127.0.0.1",
  "palisade.caller.service": "spiffe://test.example/client",
};

interface Ending {
  readonly code: string;
  readonly options?: SecuredOptions;
  readonly metadata?: (wall: Secured) => Promise<Record<string, string>>;
  readonly error?: true;
  readonly more: Readonly<Record<string, unknown>>;
}

const endings: readonly Ending[] = [
  { code: "OK", more: {} },
  {
    code: "UNAUTHENTICATED",
    metadata: async () => ({ authorization: `Bearer ${secret}` }),
    more: { "palisade.layer": "authentication", "palisade.ended_by": "layer" },
  },
  {
    code: "PERMISSION_DENIED",
    metadata: (wall) => wall.authorized({ roles: ["other"] }),
    more: { "palisade.layer": "authorization", "palisade.ended_by": "layer" },
  },
  {
    code: "RESOURCE_EXHAUSTED",
    options: { limits: { maxMetadataBytes: 600 } },
    more: { "palisade.layer": "metadata-limit", "palisade.ended_by": "layer" },
  },
  {
    code: "NOT_FOUND",
    options: {
      handlers: everyHandler(() => {
        throw new StatusError(status.NOT_FOUND, `nothing for ${secret}`);
      }),
    },
    more: {},
  },
  {
    code: "INTERNAL",
    options: {
      handlers: everyHandler(() => {
        throw new Error(`password=${secret}`);
      }),
    },
    error: true,
    more: { "palisade.error_id": expect.stringMatching(/^[0-9a-f-]{36}$/) },
  },
  {
    code: "DEADLINE_EXCEEDED",
    options: { handlers: everyHandler(() => {}), deadline: { maxUnaryMs: 30, maxStreamMs: 30 } },
    error: true,
    more: { "palisade.ended_by": "deadline" },
  },
];

describe("U6 a server span", () => {
  for (const { code, options, metadata, error, more } of endings) {
    it.each(kinds)(`%s: of a call that ends ${code} says so, and nothing secret`, async (kind) => {
      await using wall = await secured(options);
      const { traceId, parentId, traceparent } = newTrace();
      const result = await invoke(wall.client(), kind, {
        metadata: { ...(await (metadata ?? ((w: Secured) => w.authorized()))(wall)), traceparent },
        messages: [{ text: secret }],
      });
      expect(result.name).toBe(code);
      const [span, ...others] = await spans.ofTrace(traceId, 1);
      expect(others).toEqual([]);
      if (span === undefined) return;
      expect(facts(span)).toEqual({
        name: paths[kind].slice(1),
        kind: SpanKind.SERVER,
        status: error ? SpanStatusCode.ERROR : SpanStatusCode.UNSET,
        attributes: {
          ...base,
          "rpc.method": paths[kind].slice(1),
          "rpc.response.status_code": code,
          ...(error ? { "error.type": code } : {}),
          ...more,
        },
      });
      expect(span.parentSpanContext?.spanId).toBe(parentId);
      expect(span.parentSpanContext?.isRemote).toBe(true);
      expect(span.status.message).toBeUndefined();
      expect(JSON.stringify([span.attributes, span.events, span.name])).not.toContain(secret);
      // Log and audit carry the same trace.
      expect((await wall.callLine((line) => line["trace_id"] === traceId))["grpc_code"]).toBe(code);
      expect((await wall.auditEntry((entry) => entry.traceId === traceId)).status).toBe(code);
    });
  }

  it.each(kinds)("%s: of a caller who cancels says CANCELLED, and by whom", async (kind) => {
    await using wall = await secured({
      handlers: everyHandler((call: { sendMetadata(m: Metadata): void }) =>
        call.sendMetadata(new Metadata()),
      ),
    });
    const { traceId, traceparent } = newTrace();
    await invoke(wall.client(), kind, {
      metadata: { ...(await wall.authorized()), traceparent },
      onCall: (call) => call.on("metadata", () => call.cancel()),
    });
    const [span] = await spans.ofTrace(traceId, 1);
    expect(span?.attributes).toMatchObject({
      "rpc.response.status_code": "CANCELLED",
      "palisade.ended_by": "caller",
      "palisade.delivered": false,
    });
  });

  it.each(["/test.v1.Kinds/Nothing", `/made.up/${secret}?token=abcdef0123456789abcdef`])(
    "of the unknown method %s has a name that the caller did not choose",
    async (path) => {
      await using wall = await secured();
      const { traceId, traceparent } = newTrace();
      await invoke(wall.client(), "unary", { path, metadata: { ...(await wall.authorized()), traceparent } });
      const [span] = await spans.ofTrace(traceId, 1);
      expect(span?.name).toBe("grpc");
      expect(span?.attributes["rpc.method"]).toBe("_OTHER");
      expect(span?.attributes).not.toHaveProperty("rpc.service");
      expect(String(span?.attributes["rpc.method_original"])).not.toContain("abcdef0123456789");
    },
  );

  it("without a parent starts a trace, whose id log and audit show", async () => {
    await using wall = await secured();
    await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    const span = await spans.one((each) => each.name === "test.v1.Kinds/Unary");
    expect(span.parentSpanContext).toBeUndefined();
    const { traceId } = span.spanContext();
    await wall.callLine((line) => line["trace_id"] === traceId);
    await wall.auditEntry((entry) => entry.traceId === traceId);
  });

  it.each(["", "00-0-0-00", `ff-${"a".repeat(32)}-${"b".repeat(16)}-01`, "x".repeat(4000)])(
    "takes nothing from a traceparent that is none: %j",
    async (traceparent) => {
      await using wall = await secured();
      const result = await invoke(wall.client(), "unary", {
        metadata: { ...(await wall.authorized()), traceparent },
      });
      expect(result.name).toBe("OK");
      expect((await spans.one(() => true)).parentSpanContext).toBeUndefined();
    },
  );

  it("is absent with tracing: false", async () => {
    await using wall = await secured({ tracing: false });
    const { traceId, traceparent } = newTrace();
    await invoke(wall.client(), "unary", { metadata: { ...(await wall.authorized()), traceparent } });
    await wall.callLine((line) => line["trace_id"] === traceId);
    expect(spans.all()).toEqual([]);
  });
});

describe("U6 the span is active", () => {
  it.each(kinds)("%s: in the handler, its listeners, its timers and after its awaits", async (kind) => {
    const seen = new Map<string, string | undefined>();
    const note = (where: string): void => {
      seen.set(where, trace.getActiveSpan()?.spanContext().traceId);
      expect(currentContext()).toBeDefined();
    };
    await using wall = await secured({
      handlers: everyHandler(async (call: NodeJS.EventEmitter & { end?(): void; write?(n: Note): void }) => {
        note("handler");
        if (kind === "client_stream" || kind === "bidi_stream") {
          call.on("data", () => note("data"));
          await new Promise((resolve) => call.on("end", resolve));
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
        note("await");
        await new Promise<void>((resolve) => setImmediate(() => resolve(note("timer"))));
        if (call.end === undefined || kind === "client_stream" || kind === "unary") return { text: "done" };
        call.write?.({ text: "done" });
        call.end();
        return undefined;
      }),
    });
    const { traceId, traceparent } = newTrace();
    const result = await invoke(wall.client(), kind, {
      metadata: { ...(await wall.authorized()), traceparent },
    });
    expect(result.messages).toEqual([{ text: "done" }]);
    const streaming = kind === "client_stream" || kind === "bidi_stream";
    expect(Object.fromEntries(seen)).toEqual({
      handler: traceId,
      ...(streaming ? { data: traceId } : {}),
      await: traceId,
      timer: traceId,
    });
  });

  it("in a generator", async () => {
    const seen: (string | undefined)[] = [];
    await using wall = await secured({
      handlers: {
        async *serverStream() {
          seen.push(trace.getActiveSpan()?.spanContext().traceId);
          yield { text: "one" };
          await new Promise((resolve) => setImmediate(resolve));
          seen.push(trace.getActiveSpan()?.spanContext().traceId);
          yield { text: "two" };
        },
      } as unknown as UntypedServiceImplementation,
    });
    const { traceId, traceparent } = newTrace();
    await invoke(wall.client(), "server_stream", { metadata: { ...(await wall.authorized()), traceparent } });
    expect(seen).toEqual([traceId, traceId]);
  });

  it("of each call in its own handler, when many run at once", async () => {
    await using wall = await secured({
      handlers: {
        async unary(call: object) {
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
          expect(securityContext(call)).toBe(currentContext());
          return { text: trace.getActiveSpan()?.spanContext().traceId ?? "none" };
        },
      } as unknown as UntypedServiceImplementation,
    });
    const client = wall.client();
    const authorized = await wall.authorized();
    const traces = Array.from({ length: 50 }, () => newTrace());
    const results = await Promise.all(
      traces.map(({ traceparent }) => invoke(client, "unary", { metadata: { ...authorized, traceparent } })),
    );
    expect(results.map(({ messages }) => messages[0]?.text)).toEqual(traces.map(({ traceId }) => traceId));
  });

  it("and passes on the trace of a caller who is not sampled", async () => {
    await spans.shutdown();
    spans = registerTracerProvider({ sampler: new AlwaysOffSampler() });
    await using wall = await secured({
      handlers: {
        async unary() {
          const carrier: Record<string, string> = {};
          propagation.inject(context.active(), carrier);
          return { text: carrier["traceparent"] ?? "none" };
        },
      } as unknown as UntypedServiceImplementation,
    });
    const { traceId, traceparent } = newTrace("00");
    const { messages } = await invoke(wall.client(), "unary", {
      metadata: { ...(await wall.authorized()), traceparent },
    });
    expect(messages[0]?.text).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`));
    expect(spans.all()).toEqual([]);
  });

  it("A9 without the baggage that the caller sent", async () => {
    await using wall = await secured({
      handlers: {
        async unary() {
          return { text: propagation.getActiveBaggage()?.getEntry("user")?.value ?? "none" };
        },
      } as unknown as UntypedServiceImplementation,
    });
    const { messages } = await invoke(wall.client(), "unary", {
      metadata: { ...(await wall.authorized()), traceparent: newTrace().traceparent, baggage: "user=root" },
    });
    expect(messages[0]?.text).toBe("none");
  });
});

describe("U6 a tracing SDK that fails", () => {
  const failing = {
    tracer: {
      getTracer: () => {
        throw new Error("no tracer today");
      },
    },
    startSpan: {
      getTracer: () => ({
        startSpan: () => {
          throw new Error("no span today");
        },
        startActiveSpan: () => {
          throw new Error("never");
        },
      }),
    },
    span: {
      getTracer: () => ({
        startSpan: () =>
          new Proxy(
            {},
            {
              get: () => () => {
                throw new Error("no attribute today");
              },
            },
          ) as never,
        startActiveSpan: () => {
          throw new Error("never");
        },
      }),
    },
  };

  it.each(Object.entries(failing))("at its %s fails no call, and is said once", async (_where, provider) => {
    trace.disable();
    trace.setGlobalTracerProvider(provider);
    await using wall = await secured();
    const client = wall.client();
    for (const kind of [...kinds, ...kinds]) {
      expect((await invoke(client, kind, { metadata: await wall.authorized() })).name).toBe("OK");
    }
    expect(wall.lines.filter(({ layer }) => layer === "tracing")).toHaveLength(1);
  });

  it("at its context manager runs the handler all the same, once", async () => {
    context.disable();
    context.setGlobalContextManager({
      active: () => {
        throw new Error("no context today");
      },
      with: () => {
        throw new Error("no context today");
      },
      bind: (_context, target) => target,
      enable() {
        return this;
      },
      disable() {
        return this;
      },
    });
    await using wall = await secured();
    const client = wall.client();
    for (const kind of kinds) {
      expect((await invoke(client, kind, { metadata: await wall.authorized() })).name).toBe("OK");
    }
    expect(wall.started).toEqual(kinds);
  });
});
