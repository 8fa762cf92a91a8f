// Jest's own `require` loads no ES module, and jose is one: the built package signs and verifies tokens there all the same,
// without any configuration.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";

const root = join(import.meta.dirname, "../..");
const project = realpathSync(mkdtempSync(join(tmpdir(), "palisade-jest-")));

/** A user's test: four tokens, and what a server says to each. */
const usersTest = `
const { Client, credentials, Metadata } = require("@grpc/grpc-js");
const { allowAuthenticated, createSecureServer, jwt } = require("grpc-palisade");
const { createTokenIssuer } = require("grpc-palisade/testing");

const same = (bytes) => bytes;
const path = "/orders.v1.Orders/GetOrder";
const service = {
  getOrder: {
    path, requestStream: false, responseStream: false,
    requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
  },
};
let issuer, other, server, client;

beforeAll(async () => {
  issuer = await createTokenIssuer({ audience: "orders" });
  other = await createTokenIssuer({ audience: "orders", issuer: issuer.issuer });
  server = createSecureServer({
    tls: { plaintext: "loopback" },
    authentication: jwt({ issuer: issuer.issuer, audience: "orders", jwksUri: issuer.jwksUri }),
    authorization: allowAuthenticated(),
    logger: false,
  });
  server.addService(service, { getOrder: (_, callback) => callback(null, Buffer.from("order")) });
  const { port } = await server.listen("127.0.0.1:0");
  client = new Client("127.0.0.1:" + port, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await server.shutdown();
  await issuer.close();
  await other.close();
});

function answerTo(token) {
  const metadata = new Metadata();
  metadata.set("authorization", "Bearer " + token);
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error, order) =>
      resolve(error ? error.details : order.toString()),
    );
  });
}

test.each(["ES256", "RS256", "PS256", "ES384", "EdDSA"])("a token signed with %s", async (alg) => {
  expect(await answerTo(await issuer.sign({ sub: "ada" }, { alg }))).toBe("order");
});
test("a token whose key is one of several", async () => {
  expect(await answerTo(await issuer.sign({ sub: "ada" }, { kid: null }))).toBe("order");
});
test("a token of another key", async () => {
  expect(await answerTo(await other.sign({ sub: "ada" }))).toBe("invalid credentials");
});
test("a token for another service", async () => {
  expect(await answerTo(await issuer.sign({ aud: "billing" }))).toBe("invalid credentials");
});
test("an expired token", async () => {
  expect(await answerTo(await issuer.sign({}, { expiresInSec: -60 }))).toBe("expired credentials");
});
`;

beforeAll(() => {
  const packed = join(project, "node_modules/grpc-palisade");
  cpSync(join(root, "dist"), join(packed, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(packed, "package.json"));
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  for (const name of [...Object.keys(manifest.dependencies), "@grpc/grpc-js", "@opentelemetry/api"]) {
    const to = join(project, "node_modules", name);
    mkdirSync(dirname(to), { recursive: true });
    symlinkSync(realpathSync(join(root, "node_modules", name)), to);
  }
  writeFileSync(join(project, "package.json"), '{ "private": true }\n');
  writeFileSync(join(project, "orders.test.js"), usersTest);
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

describe("under Jest, without configuration", () => {
  it.each([
    [29, "jest"],
    [30, "jest-30"],
  ])("A1 Jest %i: a test signs tokens and verifies them", async (major, name) => {
    const folder = join(root, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
      readonly version: string;
    };
    expect(version).toMatch(new RegExp(`^${major}\\.`));
    const { stdout, stderr } = await runNode([join(folder, "bin/jest.js"), "--json", "--no-watchman"], {
      cwd: project,
    });
    if (stdout === "") throw new Error(`Jest made no report: ${stderr}`);
    const report: unknown = JSON.parse(stdout);
    expect(report, stderr).toMatchObject({ numPassedTests: 9, numFailedTests: 0, numFailedTestSuites: 0 });
  });
});
