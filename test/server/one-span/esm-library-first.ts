// ES modules: grpc-js and the library are loaded before the instrumentation is there.
import { report } from "./calls.ts";
import { instrument } from "./instrument.ts";

process.send?.(await report(instrument()), () => process.exit(0));
