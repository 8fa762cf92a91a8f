// @connectrpc/connect-node without interceptors, over Node's HTTP/2 server. The service comes from the descriptors that
// were loaded: generated code would hold the same.
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { createFileRegistry, fromBinary, type Message as ProtobufMessage } from "@bufbuild/protobuf";
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { fileDescriptors, type Message, type Request } from "./contract.ts";
import { serve } from "./serve.ts";

type Input = GenMessage<ProtobufMessage<"bench.v1.Request"> & Request>;
type Output = GenMessage<ProtobufMessage<"bench.v1.Response"> & Message>;

type BenchService = GenService<{
  unary: { methodKind: "unary"; input: Input; output: Output };
  serverStream: { methodKind: "server_streaming"; input: Input; output: Output };
  bidiStream: { methodKind: "bidi_streaming"; input: Input; output: Output };
}>;

function benchService(): BenchService {
  const [file] = fileDescriptors().map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  if (file === undefined) throw new Error("the contract has no descriptors");
  const service = createFileRegistry(file, () => undefined).getService("bench.v1.Bench");
  if (service === undefined) throw new Error("the contract's descriptors have no bench.v1.Bench");
  // What a generator would have written as the type of the same descriptors.
  return service as unknown as BenchService;
}

serve(async ({ identities }) => {
  const { cert, key } = identities.server;
  const handler = connectNodeAdapter({
    routes: (router) => {
      router.service(benchService(), {
        unary: ({ payload }) => ({ payload }),
        async *serverStream({ payload, messages }) {
          for (let sent = 0; sent < messages; sent += 1) yield { payload };
        },
        async *bidiStream(requests) {
          for await (const { payload } of requests) yield { payload };
        },
      });
    },
  });
  const server = createSecureServer(
    {
      cert,
      key,
      ca: identities.ca,
      requestCert: true,
      rejectUnauthorized: true,
      settings: { maxConcurrentStreams: 100_000 },
    },
    handler,
  );
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return { port: (server.address() as AddressInfo).port };
});
