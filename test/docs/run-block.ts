// Runs one TypeScript block of the documentation, and then its proof: `run-block.ts <key> <block.js> <folder>`. The
// process ends by itself, if the block and its proof closed what they opened.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createTokenIssuer } from "../../src/testing/index.ts";
import { freePort } from "../harness/free-port.ts";
import { proofs } from "./proofs.ts";

const [key = "", block = "", directory = ""] = process.argv.slice(2);
const proof = proofs[key];
if (proof === undefined) throw new Error(`${key}: no proof`);

await using issuer = await createTokenIssuer({ audience: "orders" });
const port = await freePort();
const token = join(directory, `${port}.token`);
writeFileSync(token, await issuer.sign({ sub: "token-file" }));

/** Issuers that pages name: nobody reaches them, so that their keys are not discovered here. */
const issuers: readonly string[] = [
  "https://keycloak.example/realms/shop",
  "https://shop.eu.auth0.com/",
  "https://login.microsoftonline.com/3f2504e0-4f89-41d3-9a0c-0305e82c3301/v2.0",
  "https://shop.okta.com/oauth2/default",
  "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
  "https://accounts.google.com",
];

/** The places that pages name, as they are on this machine. */
const places: readonly (readonly [page: string, here: string])[] = [
  ...issuers.map((name) => [`issuer: "${name}"`, `jwksUri: "${issuer.jwksUri}", issuer: "${name}"`] as const),
  [
    "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123/.well-known/jwks.json",
    issuer.jwksUri,
  ],
  ["https://id.example", issuer.issuer],
  ["0.0.0.0:50051", `127.0.0.1:${port}`],
  ["0.0.0.0:50052", "127.0.0.1:0"],
  ["orders.internal:50051", `localhost:${port}`],
  ["/var/run/secrets/tokens/orders", token],
  ["/etc/orders/", `${directory}/`],
  ["/var/log/orders/", `${directory}/`],
];
const source = readFileSync(block, "utf8");
writeFileSync(
  block,
  places.reduce((text, [page, here]) => text.replaceAll(page, here), source),
);

process.chdir(directory);
await proof({
  directory,
  port,
  block,
  issuer,
  apiKey: readFileSync(join(directory, "api-key"), "utf8"),
  run: () => import(pathToFileURL(block).href),
});
