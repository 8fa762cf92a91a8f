// CommonJS: grpc-js and the library are loaded before the instrumentation is there.
const { report } = require("./calls.ts");
const { instrument } = require("./instrument.ts");

const exporter = instrument();
// As a file of the application that is loaded later would: it is this that lets the instrumentation patch grpc-js.
require("@grpc/grpc-js");
void report(exporter).then((done) => process.send(done, () => process.exit(0)));
