// A server whose answers have filled the socket of a caller that reads nothing: what it sends next waits within HTTP/2.
import { Buffer } from "node:buffer";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { paths } from "./kinds.ts";
import { eventually, type Secured, secured } from "./secured.ts";
import { openWire, type Wire, type WireCall } from "./wire.ts";

export interface FullSocket extends AsyncDisposable {
  readonly wall: Secured;
  readonly wire: Wire;
  /** One with streams in both directions, which its caller leaves open. */
  readonly call: WireCall;
  /** Its handler ends it without a message. */
  endCall(): void;
}

/** Together more than the sockets between a caller and a server hold. */
const answers = 8;
const answer = { text: "x".repeat(3_000_000) };
/** Not HTTP/2's flow control holds them up. */
const window = 64 * 1024 * 1024;

export async function fullSocket(): Promise<FullSocket> {
  let started = 0;
  let answered = 0;
  let goOn = (): void => {};
  const allStarted = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let endCall = (): void => {};
  const wall = await secured({
    handlers: {
      async unary() {
        started += 1;
        await allStarted;
        return answer;
      },
      bidiStream(call: { end(): void }) {
        started += 1;
        endCall = () => call.end();
      },
    } as unknown as UntypedServiceImplementation,
    middleware: [
      {
        name: "answers",
        onResponse() {
          answered += 1;
        },
      },
    ],
  });
  const wire = await openWire(wall, { settings: { initialWindowSize: window } });
  wire.session.setLocalWindowSize(window);
  const headers = await wall.authorized();
  const call = wire.call({ path: paths.bidi_stream, headers, keepOpen: true });
  for (let i = 0; i < answers; i++) wire.call({ path: paths.unary, headers, messages: [Buffer.from("{}")] });
  await eventually(() => started === answers + 1, "the handlers");
  wire.pause();
  goOn();
  await eventually(() => answered === answers, "the answers");
  return {
    wall,
    wire,
    call,
    endCall,
    async [Symbol.asyncDispose]() {
      await wire[Symbol.asyncDispose]();
      await wall.close();
    },
  };
}
