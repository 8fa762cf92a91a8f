// A process of its own: a secured server whose handlers leave failing work behind. `argv[2]` says which; `argv[3]` whether
// the process is guarded. It prints its log, calls itself once, and prints "alive" if it is after that.
import { readFile } from "node:fs";
import { Metadata, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { currentContext } from "../../../src/chain/current-context.ts";
import { processGuard } from "../../../src/chain/process-guard.ts";
import { type AnyClientCall, invoke, kinds } from "../../harness/kinds.ts";
import { eventually, type LogLine, secured } from "../../harness/secured.ts";

const detached: Readonly<Record<string, () => void>> = {
  timer: () => {
    setTimeout(() => {
      throw new Error("left behind");
    }, 1);
  },
  immediate: () => {
    setImmediate(() => {
      throw new Error("left behind");
    });
  },
  tick: () => {
    process.nextTick(() => {
      throw new Error("left behind");
    });
  },
  promise: () => {
    void Promise.reject(new Error("left behind"));
  },
  "async function": () => {
    void (async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      throw new Error("left behind");
    })();
  },
  "file callback": () => {
    readFile(import.meta.filename, () => {
      throw new Error("left behind");
    });
  },
  "derived signal": () => {
    const context = currentContext();
    if (context === undefined) return;
    AbortSignal.any([context.signal]).addEventListener("abort", () => {
      throw new Error("left behind");
    });
  },
  "a string": () => {
    setTimeout(() => {
      throw "left behind";
    }, 1);
  },
};

const [, , what = "", how = ""] = process.argv;
const leave = detached[what];
const guards =
  how === "guarded" ? [processGuard()] : how === "removed" ? [processGuard(), processGuard()] : [];
if (how === "removed") for (const remove of guards) remove();

const ids: string[] = [];
const begin = (): void => {
  const context = currentContext();
  if (context !== undefined) ids.push(context.requestId);
  leave?.();
};
const handlers = {
  unary(_call: unknown, callback: (error: null, value: object) => void) {
    begin();
    callback(null, { text: "ok" });
  },
  clientStream(call: NodeJS.EventEmitter, callback: (error: null, value: object) => void) {
    call.on("data", begin);
    call.on("end", () => callback(null, { text: "ok" }));
  },
  async *serverStream() {
    begin();
    yield { text: "ok" };
  },
  async *bidiStream(call: AsyncIterable<object>) {
    for await (const note of call) {
      begin();
      yield note;
    }
  },
} as unknown as UntypedServiceImplementation;

/** They never answer: only a call that ends before its handler did aborts. */
const cancelled = what === "derived signal";
const waiting = (call: { sendMetadata(metadata: Metadata): void }): void => {
  begin();
  call.sendMetadata(new Metadata());
};
const silent = {
  unary: waiting,
  clientStream: waiting,
  serverStream: waiting,
  bidiStream: waiting,
} as unknown as UntypedServiceImplementation;

await using wall = await secured({ handlers: cancelled ? silent : handlers });
const client = wall.client();
const metadata = await wall.authorized();
const told: string[] = [];
const onCall = (call: AnyClientCall): void => {
  if (cancelled) call.on("metadata", () => call.cancel());
};
for (const kind of kinds) told.push((await invoke(client, kind, { metadata, onCall })).name);
if (what === "foreign") {
  await new Promise(() => {
    setTimeout(() => {
      throw new Error("belongs to no call");
    }, 1);
  });
}
const reported = (): LogLine[] =>
  wall.lines.filter(({ msg }) => msg?.startsWith("background work of a handler"));
await eventually(() => reported().length === ids.length, "a report for each call");
// The clients' and the identity provider's sockets would keep it alive.
process.stdout.write(`${JSON.stringify({ alive: true, told, ids, reports: reported() })}\n`, () =>
  process.exit(),
);
