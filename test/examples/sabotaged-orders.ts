// The demo with one thing wrong, named on the command line. Run as a process of its own, for its exit code.
import { goodCalls } from "../../examples/orders/calls/good.ts";
import type { DemoCall } from "../../examples/orders/demo-call.ts";
import { report } from "../../examples/orders/report.ts";

const sabotages: Readonly<Record<string, (call: DemoCall) => readonly DemoCall[]>> = {
  nothing: (call) => [call],
  "another expectation": (call) => [{ ...call, expected: "PERMISSION_DENIED permission denied" }],
  "a row that fails": (call) => [{ ...call, make: () => Promise.reject(new Error("sabotaged")) }],
  "an uncaught error": (call) => [
    {
      ...call,
      make(demo) {
        setImmediate(() => {
          throw new Error("sabotaged");
        });
        return call.make(demo);
      },
    },
  ],
  "an unhandled rejection": (call) => [
    {
      ...call,
      make(demo) {
        Promise.reject(new Error("sabotaged"));
        return call.make(demo);
      },
    },
  ],
};

const sabotage = sabotages[process.argv[2] ?? ""];
const [first] = goodCalls;
if (sabotage === undefined || first === undefined) throw new Error("say what to sabotage");
process.exitCode = await report(sabotage(first));
