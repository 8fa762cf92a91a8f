// The usual OpenTelemetry set-up of a service: an SDK, and the instrumentation of grpc-js.
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { GrpcInstrumentation } from "@opentelemetry/instrumentation-grpc";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";

export function instrument(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  const tracerProvider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  tracerProvider.register();
  registerInstrumentations({ instrumentations: [new GrpcInstrumentation()], tracerProvider });
  return exporter;
}
