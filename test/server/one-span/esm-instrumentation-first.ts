// ES modules: the instrumentation is there before grpc-js and the library are loaded.
import { instrument } from "./instrument.ts";

const exporter = instrument();
const { report } = await import("./calls.ts");
process.send?.(await report(exporter), () => process.exit(0));
