// Handlers that fail in the ways that end an unprotected process.
import { pino } from "pino";
import { answered, streamed } from "../answer.ts";
import type { Demo, DemoCall } from "../demo-call.ts";
import { ping } from "./orders.ts";

const secret = "cannot reach the database at 10.0.0.7";

export const failureCalls: readonly DemoCall[] = [
  {
    call: "handler whose promise is rejected",
    expected: "INTERNAL internal error (id …), error logged",
    async make(demo) {
      const text = `${secret} (promise)`;
      const { status } = await answered((done) => demo.as("ada", "customer").reject({ text }, done));
      return `${status}, ${await levelOf(demo, text)} logged`;
    },
  },
  {
    call: "handler that throws in a listener",
    expected: "INTERNAL internal error (id …), error logged",
    async make(demo) {
      const text = `${secret} (listener)`;
      const call = demo.as("ada", "customer").throwInListener();
      const ended = streamed(call);
      call.write({ text });
      const { status } = await ended;
      return `${status}, ${await levelOf(demo, text)} logged`;
    },
  },
  {
    call: "Ping, after all that, to the same process",
    expected: "OK, hello, 0 uncaught errors",
    make: async (demo) => ({
      result: `${await ping(demo.client())}, ${demo.uncaught.length} uncaught errors`,
      remark: `pid ${process.pid}, up ${process.uptime().toFixed(1)} s`,
    }),
  },
];

/** The level at which the server logged the failure with this text. */
async function levelOf(demo: Demo, text: string): Promise<string | undefined> {
  const { level } = await demo.logged(({ err }) => err?.message === text);
  return pino.levels.labels[level];
}
