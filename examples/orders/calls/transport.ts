// Below the call: connections that must not come about, and credentials that must not leave.
import type { SecureClientSessionOptions } from "node:http2";
import { connect, createServer } from "node:net";
import { Metadata } from "@grpc/grpc-js";
import { createSecureClient } from "grpc-palisade";
import { knock } from "../attacker.ts";
import { foreignCa, keyPair, trustedRoot } from "../certificates.ts";
import type { Demo, DemoCall, Seen } from "../demo-call.ts";
import { OrdersClient } from "../service.ts";
import { getOrder, ping } from "./orders.ts";

export const transportCalls: readonly DemoCall[] = [
  {
    call: "plaintext",
    expected: "connection refused",
    make: ({ port }) => knock(`http://127.0.0.1:${port}`),
  },
  {
    call: "TLS 1.2",
    expected: "connection refused",
    make: (demo) => knockOverTls(demo, { ...keyPair("client"), maxVersion: "TLSv1.2" }),
  },
  {
    call: "no client certificate",
    expected: "connection refused",
    make: (demo) => knockOverTls(demo, {}),
  },
  {
    call: "client certificate of another CA",
    expected: "connection refused",
    make: (demo) => knockOverTls(demo, keyPair("foreign-client")),
  },
  {
    call: "client certificate that has expired",
    expected: "connection refused",
    make: (demo) => knockOverTls(demo, keyPair("expired-client")),
  },
  {
    call: "TLS 1.3 with a good certificate, by hand",
    expected: "OK",
    make: (demo) => knockOverTls(demo, keyPair("client")),
  },
  {
    call: "client that trusts another CA",
    expected: "UNAVAILABLE",
    async make(demo) {
      const tls = { ca: foreignCa };
      const stranger = demo.closeLater(createSecureClient(OrdersClient, demo.target, { tls }));
      const [code = "", ...text] = (await ping(stranger)).split(" ");
      return { result: code, remark: text.join(" ").replace(/\. Resolution note:.*/, "") };
    },
  },
  {
    call: "token on an unencrypted channel",
    expected: "UNAUTHENTICATED, 0 bytes sent",
    make: sendTokenInPlaintext,
  },
];

function knockOverTls({ port }: Demo, options: SecureClientSessionOptions): Promise<Seen> {
  return knock(`https://127.0.0.1:${port}`, { ca: trustedRoot(), minVersion: "TLSv1.2", ...options });
}

/** To a listener that counts what comes. */
async function sendTokenInPlaintext(demo: Demo): Promise<string> {
  let received = "";
  const listener = createServer((socket) => {
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      if (text.endsWith(lastWord)) socket.end();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const address = listener.address();
  const port = typeof address === "object" ? address?.port : undefined;
  if (port === undefined) throw new Error("the listener has no port");
  const client = createSecureClient(OrdersClient, `127.0.0.1:${port}`, { tls: { plaintext: "loopback" } });
  try {
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${await demo.token()}`);
    const [code] = (await getOrder(client, "o-1", metadata)).split(" ");
    await sayLastWord(port);
    return `${code}, ${received.length - lastWord.length} bytes sent`;
  } finally {
    client.close();
    listener.close();
  }
}

const lastWord = "END";

/** Connections are accepted in order: when this one was answered, every byte sent before was counted. */
function sayLastWord(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(lastWord));
    socket.on("end", () => socket.end());
    socket.on("close", () => resolve());
    socket.on("error", reject);
    socket.resume();
  });
}
