// A span for each call of a client (U6), and the trace that travels on with it (K3).
import { Buffer } from "node:buffer";
import { Metadata, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { context, propagation, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { ReadableSpan } from "@opentelemetry/sdk-trace-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";
import { invoke } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";
import { registerTracerProvider, type Spans } from "../harness/spans.ts";
import { calls, kinds, OrdersClient, type OrdersServer, startOrders, tlsFor } from "./orders.ts";

let ca: CertificateAuthority;
let server: OrdersServer;
let spans: Spans;
let clients: OrdersClient[];

beforeAll(async () => {
  ca = await createCertificateAuthority();
  server = await startOrders(await tlsFor(ca));
});
afterAll(() => server.close());
beforeEach(() => {
  spans = registerTracerProvider();
  clients = [];
  server.arrivals.length = 0;
});
afterEach(async () => {
  for (const client of clients) client.close();
  await spans.shutdown();
});

function client(options: SecureClientOptions = {}): OrdersClient {
  const made = createSecureClient(OrdersClient, `127.0.0.1:${server.port}`, {
    tls: { ca: Buffer.from(ca.caPem) },
    ...options,
  });
  clients.push(made);
  return made;
}

async function inSpan<T>(work: (span: Span) => Promise<T>): Promise<T> {
  return trace.getTracer("test").startActiveSpan("work", async (span) => {
    try {
      return await work(span);
    } finally {
      span.end();
    }
  });
}

function traceparentOf(span: Pick<Span, "spanContext">): string {
  const { traceId, spanId } = span.spanContext();
  return `00-${traceId}-${spanId}-01`;
}

/** The span of the call, once it ended. */
function clientSpan(): Promise<ReadableSpan> {
  return spans.one(({ kind }) => kind === SpanKind.CLIENT);
}

describe("U6 a client span", () => {
  it.each(kinds)("%s: is the child of the active one, and says how the call ended", async (kind) => {
    await inSpan(async (span) => {
      await calls[kind](client(), new Metadata(), {});
      const made = await clientSpan();
      expect(made.parentSpanContext?.spanId).toBe(span.spanContext().spanId);
      expect(made.name).toMatch(/^orders\.v1\.Orders\//);
      expect(made.attributes).toEqual({
        "rpc.system.name": "grpc",
        "rpc.method": made.name,
        "rpc.response.status_code": "OK",
      });
      expect(made.status.code).toBe(SpanStatusCode.UNSET);
    });
  });

  it.each(kinds)("%s: is an error where the call does not end OK", async (kind) => {
    const told = await calls[kind](client(), new Metadata(), { deadline: 0 });
    expect(told.code).toBe(status.DEADLINE_EXCEEDED);
    const made = await clientSpan();
    expect(made.attributes).toMatchObject({
      "rpc.response.status_code": "DEADLINE_EXCEEDED",
      "error.type": "DEADLINE_EXCEEDED",
    });
    expect(made.status).toEqual({ code: SpanStatusCode.ERROR });
  });

  it("is not made with tracing: false", async () => {
    await calls.unary(client({ tracing: false }), new Metadata(), {});
    expect(spans.all()).toEqual([]);
  });

  it("an SDK that fails costs the span, not the call", async () => {
    await spans.shutdown();
    const fails = (): never => {
      throw new Error("broken SDK");
    };
    const broken = { spanContext: fails, setAttribute: fails, setStatus: fails, end: fails };
    trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan: () => broken }) } as never);
    expect((await calls.unary(client(), new Metadata(), {})).code).toBe(status.OK);
    trace.disable();
    trace.setGlobalTracerProvider({ getTracer: fails } as never);
    expect((await calls.unary(client(), new Metadata(), {})).code).toBe(status.OK);
    trace.disable();
  });
});

describe("K3 the trace context of a call", () => {
  it.each(kinds)("%s: goes to the server", async (kind) => {
    await inSpan(async (span) => {
      expect((await calls[kind](client(), new Metadata(), {})).code).toBe(status.OK);
      const sent = await clientSpan();
      expect(sent.spanContext().traceId).toBe(span.spanContext().traceId);
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(sent)]);
    });
  });

  it.each(kinds)("%s: is left out with tracing: false", async (kind) => {
    await inSpan(async () => {
      await calls[kind](client({ tracing: false }), new Metadata(), {});
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([]);
    });
  });

  it("is a trace of its own where no span is active", async () => {
    await calls.unary(client(), new Metadata(), {});
    expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(await clientSpan())]);
  });

  it("is nothing where no SDK is registered", async () => {
    await spans.shutdown();
    await calls.unary(client(), new Metadata(), {});
    expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([]);
  });

  it("stays out of the caller's own metadata, and replaces what that says of a trace", async () => {
    const metadata = new Metadata();
    metadata.set("traceparent", `00-${"1".repeat(32)}-${"2".repeat(16)}-01`);
    const before = metadata.clone();
    await inSpan(async () => {
      await calls.unary(client(), metadata, {});
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(await clientSpan())]);
    });
    expect(metadata).toEqual(before);
  });

  it("goes without the baggage that is active beside it", async () => {
    await inSpan(async () => {
      const baggage = propagation.createBaggage({ user: { value: "ada@example.com" } });
      await context.with(propagation.setBaggage(context.active(), baggage), () =>
        calls.unary(client(), new Metadata(), {}),
      );
      expect(server.arrivals[0]?.metadata.get("traceparent")).toHaveLength(1);
      expect(server.arrivals[0]?.metadata.get("baggage")).toEqual([]);
    });
  });

  it("goes after the application's own transformer", async () => {
    const own = client({
      channelOptions: {
        callInvocationTransformer(call) {
          call.metadata.set("x-own", "here");
          return call;
        },
      },
    });
    await inSpan(async () => {
      await calls.unary(own, new Metadata(), {});
      expect(server.arrivals[0]?.metadata.get("x-own")).toEqual(["here"]);
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(await clientSpan())]);
    });
  });

  it("a propagator that fails costs the trace, not the call", async () => {
    propagation.disable();
    propagation.setGlobalPropagator({
      inject() {
        throw new Error("no propagation today");
      },
      extract: (sent) => sent,
      fields: () => [],
    });
    await inSpan(async () => {
      expect((await calls.unary(client(), new Metadata(), {})).code).toBe(status.OK);
    });
  });

  it.each(kinds)("U6 %s: leads from a handler's span on to the next service", async (kind) => {
    const next = client();
    const handler = async (call: { end?(): void; resume?(): void }): Promise<unknown> => {
      expect((await calls[kind](next, new Metadata(), {})).code).toBe(status.OK);
      if (kind === "unary" || kind === "client_stream") return { text: "done" };
      call.resume?.();
      call.end?.();
      return undefined;
    };
    await using wall = await secured({
      handlers: {
        unary: handler,
        clientStream: handler,
        serverStream: handler,
        bidiStream: handler,
      } as unknown as UntypedServiceImplementation,
    });
    const result = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(result.name).toBe("OK");
    const made = await spans.one(({ kind }) => kind === SpanKind.SERVER);
    const sent = await clientSpan();
    expect(sent.parentSpanContext?.spanId).toBe(made.spanContext().spanId);
    expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(sent)]);
  });
});
