// `npm run certs`: development certificates and keys in one command (O4). `npm run certs -- --force` makes them anew.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeDevelopmentCertificates } from "../src/testing/development-certificates.ts";

const { values } = parseArgs({ options: { force: { type: "boolean", default: false } } });
const directory = fileURLToPath(new URL("../certs-dev/", import.meta.url));
const written = await writeDevelopmentCertificates(directory, {
  renew: values.force ? "always" : "when-needed",
});

if (written.length === 0) {
  console.log("certs-dev/: the certificates are all there and valid; --force makes them anew");
} else {
  for (const name of written) console.log(`wrote certs-dev/${name}`);
}
