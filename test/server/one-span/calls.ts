// Calls of all four kinds to a secured server and one to a bare one, and the spans that they left.
import { Buffer } from "node:buffer";
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { SpanKind, trace } from "@opentelemetry/api";
import type { InMemorySpanExporter } from "@opentelemetry/sdk-trace-node";
import { createSecureClient, type SecureClientConstructor } from "../../../src/client/secure-client.ts";
import { goodHandlers, invoke, kinds, kindsDefinition, paths } from "../../harness/kinds.ts";
import { eventually, secured } from "../../harness/secured.ts";

export interface SeenSpan {
  readonly name: string;
  readonly kind: string;
  readonly scope: string;
  readonly parent: string | undefined;
  readonly id: string;
}

export interface Seen {
  readonly kind: string;
  readonly code: string;
  readonly trailer: unknown;
  /** The span that was active in the handler. */
  readonly active: string | undefined;
  readonly spans: readonly SeenSpan[];
  /** The client's spans of the same call by `createSecureClient`. */
  readonly ofSecureClient: readonly SeenSpan[];
}

export interface Report {
  /** The control: is the instrumentation at work on a server of its own? */
  readonly bare: readonly SeenSpan[];
  readonly calls: readonly Seen[];
}

const active: (string | undefined)[] = [];

function trailers(): Metadata {
  active.push(trace.getActiveSpan()?.spanContext().spanId);
  const metadata = new Metadata();
  metadata.set("x-trailer", "kept");
  return metadata;
}

type Answer = (error: null, value: unknown, trailers: Metadata) => void;
type Streaming = NodeJS.EventEmitter & { end(trailers: Metadata): void };

const handlers = {
  unary: (_call: unknown, answer: Answer) => answer(null, { text: "" }, trailers()),
  clientStream: (call: NodeJS.EventEmitter, answer: Answer) =>
    call.on("data", () => {}).on("end", () => answer(null, { text: "" }, trailers())),
  serverStream: (call: Streaming) => call.end(trailers()),
  bidiStream: (call: Streaming) => call.on("data", () => {}).on("end", () => call.end(trailers())),
} as unknown as UntypedServiceImplementation;

export async function report(exporter: InMemorySpanExporter): Promise<Report> {
  const spansNow = (): readonly SeenSpan[] =>
    exporter.getFinishedSpans().map((span) => ({
      name: span.name,
      kind: SpanKind[span.kind] ?? "",
      scope: span.instrumentationScope.name,
      parent: span.parentSpanContext?.spanId,
      id: span.spanContext().spanId,
    }));
  const bare = await callBare();
  await eventually(() => spansNow().length > 0, "a span of the bare server's call").catch(() => undefined);
  const control = spansNow();
  bare.close();
  await using wall = await secured({ handlers });
  const client = wall.client();
  const secureClient: Client = createSecureClient(Client as SecureClientConstructor<Client>, wall.address, {
    tls: {
      ca: Buffer.from(wall.world.ca.caPem),
      cert: Buffer.from(wall.world.client.cert),
      key: Buffer.from(wall.world.client.key),
    },
  });
  const calls: Seen[] = [];
  for (const kind of kinds) {
    exporter.reset();
    active.length = 0;
    const result = await invoke(client, kind, { metadata: await wall.authorized() });
    await eventually(() => spansNow().some((span) => span.kind === "SERVER"), "a server span");
    // What else would come, comes before the next call has been answered.
    await invoke(client, kind, { path: "/test.v1.Kinds/Nothing", metadata: await wall.authorized() });
    const spans = spansNow().filter((span) => span.name.endsWith(paths[kind].slice(1)));
    exporter.reset();
    await invoke(secureClient, kind, { metadata: await wall.authorized() });
    await eventually(() => spansNow().some((span) => span.kind === "CLIENT"), "a client span");
    await invoke(client, kind, { path: "/test.v1.Kinds/Nothing", metadata: await wall.authorized() });
    calls.push({
      kind,
      code: result.name,
      trailer: result.trailers.get("x-trailer")[0],
      active: active[0],
      spans,
      ofSecureClient: spansNow().filter(
        (span) => span.kind === "CLIENT" && span.name.endsWith(paths[kind].slice(1)),
      ),
    });
  }
  secureClient.close();
  return { bare: control, calls };
}

async function callBare(): Promise<{ close(): void }> {
  const server = new Server();
  server.addService(kindsDefinition, goodHandlers());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  await invoke(client, "unary", { messages: [{ text: Buffer.from("x").toString() }] });
  return {
    close() {
      client.close();
      server.forceShutdown();
    },
  };
}
