// Who are you: credentials that are missing, bad or stolen, and claims that nobody verified.
import { Metadata } from "@grpc/grpc-js";
import { apiKeyCredentials, bearerToken } from "grpc-palisade";
import { answered } from "../answer.ts";
import { signedWithPublicKey, tampered, unsigned } from "../attacker.ts";
import type { Demo, DemoCall, LogLine } from "../demo-call.ts";
import { eventually } from "../eventually.ts";
import type { Order, OrdersClient } from "../service.ts";
import { cancelOrder, getOrder, ping, uploadOrders } from "./orders.ts";

export const credentialCalls: readonly DemoCall[] = [
  {
    call: "GetOrder without credentials",
    expected: "UNAUTHENTICATED missing credentials",
    make: (demo) => getOrder(demo.client(), "o-1"),
  },
  {
    call: "token that expired a minute ago",
    expected: "UNAUTHENTICATED expired credentials",
    make: async (demo) => getOrder(withToken(demo, await demo.token({}, { expiresInSec: -60 })), "o-1"),
  },
  {
    call: "token for another audience",
    expected: "UNAUTHENTICATED invalid credentials",
    make: async (demo) => getOrder(withToken(demo, await demo.token({ aud: "billing" })), "o-1"),
  },
  {
    call: "token with alg: none",
    expected: "UNAUTHENTICATED invalid credentials",
    make: async (demo) => getOrder(withToken(demo, unsigned(await demo.token())), "o-1"),
  },
  {
    call: "token with an HMAC by the public key",
    expected: "UNAUTHENTICATED invalid credentials",
    async make(demo) {
      const forged = signedWithPublicKey(await demo.token(), await demo.issuer.publicKeyPem("RS256"));
      return getOrder(withToken(demo, forged), "o-1");
    },
  },
  {
    call: "token whose role was changed to admin",
    expected: "UNAUTHENTICATED invalid credentials",
    make: async (demo) =>
      cancelOrder(withToken(demo, tampered(await demo.token(), { roles: ["admin"] })), "o-1"),
  },
  {
    call: "revoked API key",
    expected: "UNAUTHENTICATED invalid credentials",
    make: (demo) => getOrder(demo.client(apiKeyCredentials(demo.apiKeys.revoked)), "o-1"),
  },
  {
    call: "good API key beside a bad token",
    expected: "UNAUTHENTICATED invalid credentials",
    async make(demo) {
      const metadata = new Metadata();
      metadata.set("authorization", `Bearer ${unsigned(await demo.token())}`);
      return getOrder(demo.client(apiKeyCredentials(demo.apiKeys.good)), "o-1", metadata);
    },
  },
  {
    call: "Ping, which is public, with a bad token",
    expected: "UNAUTHENTICATED invalid credentials",
    make: (demo) => ping(withToken(demo, "nonsense")),
  },
  {
    call: "spoofed x-user-id and x-tenant-id",
    expected: "OK, 1 accepted, for ada of acme",
    async make(demo) {
      const metadata = new Metadata();
      metadata.set("x-user-id", "root");
      metadata.set("x-tenant-id", "globex");
      const ada = demo.as("ada", "customer");
      const uploaded = await uploadOrders(ada, [{ id: "o-5", customer: "root", tenant: "globex" }], metadata);
      const order = await readOrder(ada, "o-5");
      return `${uploaded}, for ${order?.customer} of ${order?.tenant}`;
    },
  },
  {
    call: "cancelled while its token is being checked",
    expected: "CANCELLED, handler not started",
    async make(demo) {
      const { issuer } = demo;
      // The server must ask the issuer for the new key, and the issuer lets it wait.
      await issuer.rotate();
      issuer.behave("hang");
      try {
        const ada = withToken(demo, await demo.token());
        const asked = issuer.jwksRequests;
        const call = watchOrders(ada, "hasty");
        await eventually("question for the key", () => issuer.jwksRequests > asked || undefined);
        call.cancel();
        const { status } = await demo.audited(
          ({ caller, endedBy }) => caller === null && endedBy === "caller",
        );
        issuer.behave("up");
        // The same token, checked by the same answer, a moment later: when this handler runs, the other would have.
        const patient = watchOrders(ada, "patient");
        await demo.logged(hasStarted("patient"));
        patient.cancel();
        const started = (await demo.log()).some(hasStarted("hasty"));
        return `${status}, handler ${started ? "started" : "not started"}`;
      } finally {
        issuer.behave("up");
      }
    },
  },
];

function withToken(demo: Demo, token: string): OrdersClient {
  return demo.client(bearerToken(token));
}

async function readOrder(client: OrdersClient, id: string): Promise<Order | undefined> {
  const { messages } = await answered<{ readonly order: Order }>((done) => client.getOrder({ id }, done));
  return messages[0]?.order;
}

function watchOrders(client: OrdersClient, requestId: string): ReturnType<OrdersClient["watchOrders"]> {
  const metadata = new Metadata();
  metadata.set("x-request-id", requestId);
  // It is cancelled, which is an error too.
  return client.watchOrders(metadata).on("error", () => {});
}

/** The handler of WatchOrders logs that it runs. */
function hasStarted(requestId: string): (line: LogLine) => boolean {
  return ({ msg, request_id }) => msg === "watches orders" && request_id === requestId;
}
