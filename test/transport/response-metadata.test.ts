// What of a handler's metadata may be sent.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, constants, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import {
  cleanMetadata,
  isEmptyMetadata,
  maxMetadataBytes,
  metadataEntries,
} from "../../src/transport/response-metadata.ts";

describe("response metadata", () => {
  it("is empty where it is", () => {
    const metadata = new Metadata();
    expect(isEmptyMetadata(metadata)).toBe(true);
    metadata.set("x", "1");
    expect(isEmptyMetadata(metadata)).toBe(false);
  });

  it("gives every value of every key", () => {
    const metadata = new Metadata();
    metadata.add("x", "1");
    metadata.add("x", "2");
    metadata.add("y-bin", Buffer.from([0]));
    expect(metadataEntries(metadata)).toEqual([
      ["x", ["1", "2"]],
      ["y-bin", [Buffer.from([0])]],
    ]);
  });

  it("C3 is never more than a header block holds, and says what is missing", () => {
    const metadata = new Metadata();
    for (let i = 0; i < 20; i++) metadata.set(`x-${i}`, "x".repeat(1_000));
    metadata.set("x-large-bin", Buffer.alloc(maxMetadataBytes));
    const dropped: string[] = [];
    const clean = cleanMetadata(metadata, (key) => dropped.push(key));
    const sizes = Object.entries(clean?.toHttp2Headers() ?? {}).flatMap(([key, values]) =>
      [values ?? []].flat().map((value) => key.length + String(value).length + 32),
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(maxMetadataBytes);
    expect(sizes.length + dropped.length).toBe(21);
    expect(dropped).toContain("x-large-bin");
  });

  const names = [
    ...new Set(
      Object.entries(constants)
        .filter(([constant]) => constant.startsWith("HTTP2_HEADER_"))
        .map(([, name]) => String(name)),
    ),
  ];

  /** Sends what is left of two values, as headers and as trailers, on a real stream of Node's. */
  it(`C3 leaves nothing that Node ${process.versions.node} refuses to send, of all ${names.length} fields that it knows`, async () => {
    const thrown: string[] = [];
    const server = createServer();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      const name = String(headers["x-name"]);
      const metadata = new Metadata();
      for (const value of ["1", "2"]) metadata.add(name, name.endsWith("-bin") ? Buffer.from(value) : value);
      const sent = cleanMetadata(metadata, () => {})?.toHttp2Headers();
      stream.on("error", (error) => thrown.push(`${name}: ${error.message}`));
      try {
        stream.respond({ ":status": 200, ...sent }, { waitForTrailers: true });
      } catch (error) {
        thrown.push(`${name} in headers: ${String(error)}`);
        stream.close();
        return;
      }
      stream.on("wantTrailers", () => {
        try {
          stream.sendTrailers({ "grpc-status": "0", ...sent });
        } catch (error) {
          thrown.push(`${name} in trailers: ${String(error)}`);
          stream.close();
        }
      });
      stream.end();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const statuses = await Promise.all(
      names.map(async (name) => {
        const stream = session.request({ "x-name": name });
        let answered: unknown;
        stream.on("trailers", (trailers) => {
          answered = trailers["grpc-status"];
        });
        stream.on("error", () => {});
        stream.resume();
        await once(stream, "close");
        return [name, answered];
      }),
    );
    session.destroy();
    server.close();
    expect(thrown).toEqual([]);
    expect(statuses.filter(([, answered]) => answered !== "0")).toEqual([]);
    expect(names).toContain("retry-after");
  });
});
