// A collector of OpenTelemetry data on a local port (OTLP over gRPC). It keeps what arrives as it arrives: names and texts
// stand in the bytes as they are.
import { Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";

export interface Collector extends AsyncDisposable {
  readonly port: number;
  metrics(): string;
  traces(): string;
}

const identity = (bytes: Buffer): Buffer => bytes;

function exportOf(signal: string): ServiceDefinition {
  return {
    export: {
      path: `/opentelemetry.proto.collector.${signal}.v1.${signal === "trace" ? "Trace" : "Metrics"}Service/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  };
}

export async function collector(): Promise<Collector> {
  const kept: Record<"trace" | "metrics", string> = { trace: "", metrics: "" };
  const server = new Server();
  for (const signal of ["trace", "metrics"] as const) {
    server.addService(exportOf(signal), {
      export(call: { readonly request: Buffer }, callback: (error: null, answer: Buffer) => void) {
        kept[signal] += call.request.toString("latin1");
        // An empty message: everything was taken.
        callback(null, Buffer.alloc(0));
      },
    });
  }
  const port = await new Promise<number>((settle, fail) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? settle(bound) : fail(error),
    );
  });
  return {
    port,
    metrics: () => kept.metrics,
    traces: () => kept.trace,
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}
