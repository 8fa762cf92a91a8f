// Serves until it is told to stop, and says how to call it with grpcurl.
import { once } from "node:events";
import { resolve } from "node:path";
import { issueApiKey } from "grpc-palisade";
import { createTokenIssuer } from "../../src/testing/token-issuer.ts";
import { makeCertificates } from "./certificates.ts";
import { audience, createOrdersServer } from "./server.ts";

const tokenLifetimeSec = 8 * 60 * 60;

/** @throws Error where the port is taken or the certificates cannot be used. */
export async function serve(port: number): Promise<void> {
  await makeCertificates();
  await using issuer = await createTokenIssuer({ audience, algorithms: ["ES256"] });
  const { key, record } = issueApiKey({ owner: "billing", permissions: ["order:read"], tenant: "acme" });
  const auditFile = resolve("audit-orders.jsonl");
  const server = createOrdersServer({ issuer, apiKeys: [record], auditFile });
  const { address } = await server.listen(`127.0.0.1:${port}`);

  const stop = Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  const sign = (sub: string, role: string): Promise<string> =>
    issuer.sign({ sub, tenant: "acme", roles: [role] }, { expiresInSec: tokenLifetimeSec });
  console.log(
    grpcurlLines({ address, token: await sign("ada", "customer"), admin: await sign("root", "admin"), key }),
  );
  console.log(
    `\nServing on ${address}. Audit records go to ${auditFile}, log lines come below. Ctrl-C stops.\n`,
  );

  await stop;
  await server.shutdown({ graceMs: 2_000 });
}

interface Callable {
  readonly address: string;
  readonly token: string;
  readonly admin: string;
  readonly key: string;
}

function grpcurlLines({ address, token, admin, key }: Callable): string {
  const mtls = "-cacert certs-dev/ca.crt -cert certs-dev/client.crt -key certs-dev/client.key";
  const orders = `grpcurl ${mtls} -import-path protos -proto orders/v1/orders.proto`;
  const health = `grpcurl ${mtls} -import-path examples/orders -proto health.proto`;
  const call = (options: string, method: string): string =>
    `${orders} ${options}${options === "" ? "" : " "}${address} orders.v1.Orders/${method}`;
  return `Paste these first:

TOKEN=${token}
ADMIN=${admin}
API_KEY=${key}

Then, from this folder:

# an order, with the token of a customer
${call(`-H "authorization: Bearer $TOKEN" -d '{"id":"o-1"}'`, "GetOrder")}
# all orders: a stream of responses, with an API key
${call('-H "x-api-key: $API_KEY"', "ListOrders")}
# two orders: a stream of requests
${call(`-H "authorization: Bearer $TOKEN" -d '{"order":{"id":"o-8"}} {"order":{"id":"o-9"}} {"complete":true}'`, "UploadOrders")}
# cancel an order, as an administrator
${call(`-H "authorization: Bearer $ADMIN" -d '{"id":"o-2"}'`, "CancelOrder")}
# the public method
${call(`-d '{"text":"hello"}'`, "Ping")}
# health, without credentials
${health} ${address} grpc.health.v1.Health/Check

# refused: no credentials
${call(`-d '{"id":"o-1"}'`, "GetOrder")}
# refused: a customer cannot cancel
${call(`-H "authorization: Bearer $TOKEN" -d '{"id":"o-1"}'`, "CancelOrder")}
# refused: an API key alone cannot write
${call(`-H "x-api-key: $API_KEY" -d '{"order":{"id":"o-7"}}'`, "UploadOrders")}
# refused: the signature does not fit
${call(`-H "authorization: Bearer \${TOKEN}x" -d '{"id":"o-1"}'`, "GetOrder")}
# its handler fails: the caller learns an error id, the log the reason
${call(`-H "authorization: Bearer $TOKEN" -d '{"text":"disk full"}'`, "Reject")}`;
}
