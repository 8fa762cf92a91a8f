// The Envoy configurations of docs/mesh.md, as they stand there but for files and addresses, in front of a secured server.
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { envoyProgram } from "../../bench/envoy.ts";
import {
  allowAuthenticated,
  createSecureClient,
  createSecureServer,
  jwt,
  mtls,
  type SecureServer,
  type SecureServerOptions,
} from "../../src/index.ts";
import {
  createTokenIssuer,
  type TokenIssuer,
  writeDevelopmentCertificates,
} from "../../src/testing/index.ts";
import { call, handlers, OrdersClient, OrdersService } from "../docs/orders.ts";
import { blocksOf, pages } from "../docs/pages.ts";
import { startProgram } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { runWell } from "./run.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

describe.skipIf(lacks("python3"))("Envoy in front, as docs/mesh.md shows it", () => {
  const folder = mkdtempSync(join(tmpdir(), "palisade-envoy-"));
  const file = (name: string): string => join(folder, name);
  const closing: (() => void | Promise<void>)[] = [];
  let program: string;
  let issuer: TokenIssuer;

  beforeAll(async () => {
    const found = await envoyProgram(undefined);
    if ("missing" in found) throw new Error(found.missing);
    program = found.program;
    issuer = await createTokenIssuer({ audience: "orders" });
    await writeDevelopmentCertificates(folder);
  }, installTimeoutMs);

  afterAll(async () => {
    for (const close of closing.reverse()) await close();
    await issuer?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Starts Envoy with the configuration under this heading in front of `upstream`; the port where it listens. */
  async function startEnvoy(heading: string, upstream: number): Promise<number> {
    const block = pages
      .flatMap(blocksOf)
      .find((one) => one.page === "docs/mesh.md" && one.heading === heading && one.language === "yaml");
    if (block === undefined) throw new Error(`docs/mesh.md has no configuration under "${heading}"`);
    const port = await freePort();
    const here: readonly (readonly [there: string, here: string])[] = [
      ["/etc/envoy/tls.crt", file("server.crt")],
      ["/etc/envoy/tls.key", file("server.key")],
      ["/etc/envoy/", `${folder}/`],
      ["address: 0.0.0.0, port_value: 8443", `address: 127.0.0.1, port_value: ${port}`],
      ["address: orders.internal, port_value: 50051", `address: 127.0.0.1, port_value: ${upstream}`],
      ["address: 127.0.0.1, port_value: 50051", `address: 127.0.0.1, port_value: ${upstream}`],
    ];
    const path = file(`${randomBytes(4).toString("hex")}.yaml`);
    writeFileSync(
      path,
      here.reduce((text, [there, replaced]) => text.replaceAll(there, replaced), block.code),
    );
    await runWell(program, ["--mode", "validate", "--config-path", path], { timeoutMs: 30_000 });
    const args = [
      "--config-path",
      path,
      "--concurrency",
      "1",
      "--disable-hot-restart",
      "--log-level",
      "error",
    ];
    closing.push(startProgram(program, args));
    return port;
  }

  async function startServer(options: Pick<SecureServerOptions, "tls" | "authentication" | "peer">) {
    const server: SecureServer = createSecureServer({
      ...options,
      authorization: allowAuthenticated(),
      logger: false,
    });
    server.addService(OrdersService, handlers);
    const { port } = await server.listen("127.0.0.1:0");
    closing.push(() => server.shutdown({ graceMs: 0 }));
    return port;
  }

  it("translates gRPC-Web, and passes the browser's token on", async () => {
    const upstream = await startServer({
      tls: { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") },
      authentication: jwt({ issuer: issuer.issuer, audience: "orders", jwksUri: issuer.jwksUri }),
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
    });
    const port = await startEnvoy("gRPC-Web", upstream);
    const ask = (headers: Readonly<Record<string, string>>): Promise<Answer> =>
      callOverWeb(port, readFileSync(file("ca.crt")), headers);

    const authorization = `Bearer ${await issuer.sign({ sub: "ada", roles: ["viewer"] })}`;
    const good = await ask({ authorization });
    expect(good).toMatchObject({ httpStatus: 200, grpcStatus: "0" });
    expect(JSON.parse(good.message)).toEqual({ id: "7", owner: "ada", roles: ["viewer"] });
    expect(await ask({})).toMatchObject({ httpStatus: 200, grpcStatus: "16" });
  });

  it("forwards the client's certificate as a sidecar", async () => {
    const upstream = await startServer({
      tls: { plaintext: "mesh", trustForwardedClientCertFrom: ["127.0.0.1"] },
      authentication: mtls(),
    });
    const port = await startEnvoy("With Envoy", upstream);
    const client = createSecureClient(OrdersClient, `localhost:${port}`, {
      tls: { ca: file("ca.crt"), cert: file("client.crt"), key: file("client.key") },
      deadlineMs: 30_000,
    });
    closing.push(() => client.close());
    await new Promise<void>((settle, fail) => {
      client.waitForReady(Date.now() + 30_000, (error) => (error === undefined ? settle() : fail(error)));
    });
    const headers = { "x-forwarded-client-cert": `Hash=${"a".repeat(64)};URI=spiffe://orders.example/admin` };
    expect(await call(client, "getOrder", { headers })).toEqual({
      id: "7",
      owner: "spiffe://orders.example/client",
      roles: [],
    });
  });
});

interface Answer {
  readonly httpStatus: number;
  readonly grpcStatus: string;
  readonly message: string;
}

/** One gRPC-Web call, until Envoy listens. */
async function callOverWeb(
  port: number,
  ca: Buffer,
  headers: Readonly<Record<string, string>>,
): Promise<Answer> {
  for (;;) {
    try {
      return await callOnce(port, ca, headers);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ECONNREFUSED")) throw error;
    }
  }
}

function callOnce(port: number, ca: Buffer, headers: Readonly<Record<string, string>>): Promise<Answer> {
  const message = Buffer.from(JSON.stringify({ id: "7" }));
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  return new Promise((settle, fail) => {
    const sent = request(
      {
        port,
        ca,
        host: "localhost",
        path: "/orders.v1.Orders/GetOrder",
        method: "POST",
        agent: false,
        headers: { ...headers, "content-type": "application/grpc-web+proto", "x-grpc-web": "1" },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.once("end", () => {
          const { message: answer, trailers } = framesIn(Buffer.concat(chunks));
          // Of a call that has no message, gRPC's status stands among the headers.
          const inHeaders = response.headers["grpc-status"];
          const grpcStatus = String(inHeaders ?? /grpc-status: ?(\d+)/.exec(trailers)?.[1]);
          settle({ httpStatus: response.statusCode ?? 0, grpcStatus, message: answer });
        });
        response.once("error", fail);
      },
    );
    sent.once("error", fail);
    sent.end(Buffer.concat([frame, message]));
  });
}

/** gRPC-Web: frames as in gRPC, and one with the highest bit set that has the trailers. */
function framesIn(body: Buffer): { readonly message: string; readonly trailers: string } {
  let message = "";
  let trailers = "";
  for (let position = 0; position + 5 <= body.length; ) {
    const end = position + 5 + body.readUInt32BE(position + 1);
    const text = body.toString("utf8", position + 5, end);
    if ((body.readUInt8(position) & 0x80) === 0) message += text;
    else trailers += text;
    position = end;
  }
  return { message, trailers };
}
