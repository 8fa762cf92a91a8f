// CommonJS: the instrumentation is there before grpc-js and the library are loaded.
const { instrument } = require("./instrument.ts");

const exporter = instrument();
const { report } = require("./calls.ts");
void report(exporter).then((done) => process.send(done, () => process.exit(0)));
