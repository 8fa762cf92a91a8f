// nice-grpc without middleware: what its promises and async iterables cost.
import { Buffer } from "node:buffer";
import { ServerCredentials } from "@grpc/grpc-js";
import { createServer } from "nice-grpc";
import { benchService, type Message, type Request } from "./contract.ts";
import { serve } from "./serve.ts";

serve(async ({ identities }) => {
  const { cert, key } = identities.server;
  const server = createServer();
  server.add(benchService, {
    Unary: async ({ payload }: Request): Promise<Message> => ({ payload }),
    async *ServerStream({ payload, messages }: Request): AsyncIterable<Message> {
      for (let sent = 0; sent < messages; sent += 1) yield { payload };
    },
    async *BidiStream(requests: AsyncIterable<Request>): AsyncIterable<Message> {
      for await (const { payload } of requests) yield { payload };
    },
    Hold: async ({ payload }: Request): Promise<Message> => ({ payload }),
  });
  const port = await server.listen(
    "127.0.0.1:0",
    ServerCredentials.createSsl(
      Buffer.from(identities.ca),
      [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }],
      true,
    ),
  );
  return { port };
});
