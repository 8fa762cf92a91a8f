// The trace travels on with the calls of a client (K3).
import { Buffer } from "node:buffer";
import { Metadata, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { context, propagation, type Span, trace } from "@opentelemetry/api";
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

function traceparentOf(span: Span): string {
  const { traceId, spanId } = span.spanContext();
  return `00-${traceId}-${spanId}-01`;
}

describe("K3 the active span's trace context", () => {
  it.each(kinds)("%s: goes to the server", async (kind) => {
    await inSpan(async (span) => {
      expect((await calls[kind](client(), new Metadata(), {})).code).toBe(status.OK);
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(span)]);
    });
  });

  it.each(kinds)("%s: is left out with tracing: false", async (kind) => {
    await inSpan(async () => {
      await calls[kind](client({ tracing: false }), new Metadata(), {});
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([]);
    });
  });

  it("is nothing where no span is active", async () => {
    await calls.unary(client(), new Metadata(), {});
    expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([]);
  });

  it("stays out of the caller's own metadata, and replaces what that says of a trace", async () => {
    const metadata = new Metadata();
    metadata.set("traceparent", `00-${"1".repeat(32)}-${"2".repeat(16)}-01`);
    const before = metadata.clone();
    await inSpan(async (span) => {
      await calls.unary(client(), metadata, {});
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(span)]);
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
    await inSpan(async (span) => {
      await calls.unary(own, new Metadata(), {});
      expect(server.arrivals[0]?.metadata.get("x-own")).toEqual(["here"]);
      expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([traceparentOf(span)]);
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
    const span = await spans.one(({ instrumentationScope }) => instrumentationScope.name === "grpc-palisade");
    const { traceId, spanId } = span.spanContext();
    expect(server.arrivals[0]?.metadata.get("traceparent")).toEqual([`00-${traceId}-${spanId}-01`]);
  });
});
