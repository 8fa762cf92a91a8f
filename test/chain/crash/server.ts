// The process under attack: a secured server whose handlers do what the caller names. It has no handler of its own for
// uncaught exceptions, so anything that gets past the guard ends it, and the test sees that.
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { MethodKind } from "../../../src/grpc/method.ts";
import type { Note } from "../../harness/kinds.ts";
import { secured } from "../../harness/secured.ts";
import { type Callback, type HandlerCall, misbehaviours } from "./misbehaviours.ts";

function misbehaving(
  kind: MethodKind,
): (call: HandlerCall & { metadata: { get(key: string): unknown[] } }, callback: Callback) => unknown {
  return (call, callback) => {
    const name = String(call.metadata.get("x-misbehaviour")[0] ?? "");
    const misbehaviour = misbehaviours[name];
    if (misbehaviour !== undefined) return misbehaviour.run(call, callback, kind);
    if (kind === "unary" || kind === "client_stream") callback(null, { text: "well behaved" } satisfies Note);
    else {
      call.on("data", () => {});
      call.end();
    }
    return undefined;
  };
}

const wall = await secured({
  handlers: {
    unary: misbehaving("unary"),
    clientStream: misbehaving("client_stream"),
    serverStream: misbehaving("server_stream"),
    bidiStream: misbehaving("bidi_stream"),
  } as unknown as UntypedServiceImplementation,
  rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
});

process.send?.({
  port: wall.port,
  ca: wall.world.ca.caPem,
  cert: wall.world.client.cert,
  key: wall.world.client.key,
  token: await wall.world.token({ exp: Math.floor(Date.now() / 1000) + 3600 }),
});
process.on("message", (message) => {
  if (message === "stop") void wall.close().then(() => process.exit(0));
  // Everything that was logged about calls that ended, for the test to look through.
  else if (message === "lines") process.send?.({ lines: wall.lines.splice(0) });
});
