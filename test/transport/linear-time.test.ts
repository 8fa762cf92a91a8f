// The time of parsers whose text a caller chooses (L11).
import { Metadata } from "@grpc/grpc-js";

import { it } from "vitest";

import { notGrpc } from "../../src/transport/not-grpc.ts";
import { headerListBytes, parseTimeout, readHead } from "../../src/transport/request-head.ts";
import { expectLinearTime, type Parsers } from "../harness/linear-time.ts";

/** Fields of forty characters, all of one name. */
const fieldsOf = (name: string, text: string): string[] =>
  (text.match(/[\s\S]{1,40}/g) ?? []).flatMap((value) => [name, value]);
const parsers: Parsers = {
  "grpc-timeout": parseTimeout,
  "many header fields": (text) => readFields(fieldsOf("x-a", text)),
  "many credentials": (text) => readFields(fieldsOf("authorization", text)),
  "many fields of x-forwarded-for": (text) => readFields(fieldsOf("x-forwarded-for", text)),
  "the names of header fields": (text) => readFields(fieldsOf("x", text).reverse()),
  "metadata, taken apart": (text) => {
    const legal = text.replaceAll(/[^ -~]/g, "");
    return Metadata.fromHttp2Headers({ "x-a": legal, "x-b-bin": legal }).getMap();
  },
  "a content type": (text) => notGrpc({ ":method": "POST", "content-type": text }),
};

function readFields(rawHeaders: readonly string[]): unknown {
  // As Node makes them.
  const headers: Record<string, string> = {};
  const parts = new Map<string, string[]>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    const values = parts.get(name);
    if (values === undefined) parts.set(name, [rawHeaders[i + 1] ?? ""]);
    else values.push(rawHeaders[i + 1] ?? "");
  }
  for (const [name, values] of parts) headers[name] = values.join(", ");
  return readHead(headers, rawHeaders, { metadataBytes: headerListBytes(rawHeaders), tooLarge: false });
}

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
