// What the log says of an error that did not reach the caller: the error itself, and beside it what to do, where it looks as
// if it was meant for the caller (C5).
import { Buffer } from "node:buffer";
import { type Client, status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { StatusError } from "../../src/grpc/errors.ts";
import { invoke, paths } from "../harness/kinds.ts";
import { type LogLine, type Secured, secured } from "../harness/secured.ts";

type Callback = (error: unknown) => void;

/** How a handler hands its error over. */
const ways: Readonly<Record<string, (error: unknown) => unknown>> = {
  thrown: (error) => (): never => {
    throw error;
  },
  "rejected with":
    (error) =>
    async (_call: unknown): Promise<never> => {
      throw error;
    },
  "given to the callback": (error) => (_call: unknown, callback: Callback) => callback(error),
};

async function lineOf(handler: unknown): Promise<LogLine> {
  await using wall = await secured({ handlers: { unary: handler } as never });
  const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
  expect(result).toMatchObject({ name: "INTERNAL", details: expect.stringMatching(/^internal error \(id/) });
  return wall.callLine(({ grpc_code }) => grpc_code === "INTERNAL");
}

const notFound = { code: status.NOT_FOUND };

class SqliteError extends Error {
  override readonly name: string = "SqliteError";
  readonly code: number = 5;
}

describe.each(Object.entries(ways))("an error %s", (how, handOver) => {
  const meant: readonly (readonly [string, () => object])[] = [
    ["{ code, message }", () => ({ ...notFound, message: "no such order" })],
    ["an Error with a code", () => Object.assign(new Error("no such order"), notFound)],
  ];
  it.each(meant)("C5 %s is logged as it is, beside the advice", async (_what, make) => {
    const line = await lineOf(handOver(make()));
    expect(line["err"]).toMatchObject({ message: "no such order", code: 5 });
    expect(line["hint"]).toContain("throw new StatusError(code, text)");
    expect(JSON.stringify(line["err"])).not.toContain("StatusError");
  });

  it("C5 keeps its type, its code and the stack that leads to it", async () => {
    const line = await lineOf(
      handOver(Object.assign(new RangeError("no such order"), { ...notFound, errno: 1 })),
    );
    expect(line["err"]).toMatchObject({
      type: "RangeError",
      code: 5,
      stack: expect.stringContaining("error-hints.test.ts"),
    });
  });

  const drivers: readonly (readonly [string, () => object])[] = [
    ["a driver's class of error", () => new SqliteError("SQLITE_BUSY: database is locked")],
    [
      "an error with errno",
      () => Object.assign(new Error("SQLITE_BUSY: database is locked"), { code: 5, errno: 5 }),
    ],
  ];
  it.each(drivers)("C5 %s, whose code means something else, gets no advice", async (_what, make) => {
    const line = await lineOf(handOver(make()));
    expect(line["err"]).toMatchObject({ message: "SQLITE_BUSY: database is locked", code: 5 });
    expect(line["hint"]).toBeUndefined();
  });

  it("C5 of an outgoing call is logged as it is, and the advice is StatusError.from", async () => {
    await using other = await secured();
    const error = await refusedBy(other);
    const line = await lineOf(handOver(error));
    expect(line["err"]).toMatchObject({ message: "16 UNAUTHENTICATED: missing credentials", code: 16 });
    expect(line["hint"]).toContain("StatusError.from(error)");
    await using wall = await secured({ handlers: { unary: handOver(StatusError.from(error)) } as never });
    expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "UNAUTHENTICATED",
      details: "missing credentials",
    });
  });

  if (how === "given to the callback") return;
  it.each<readonly [string, () => object]>([
    ["{ code, details }", () => ({ ...notFound, details: "no such order" })],
    [
      "an Error with code and details",
      () => Object.assign(new Error("x"), { ...notFound, details: "no such order" }),
    ],
  ])("C5 %s is logged as it is, beside the advice", async (_what, make) => {
    const line = await lineOf(handOver(make()));
    expect(line["err"]).toMatchObject({ code: 5 });
    expect(line["hint"]).toContain("throw new StatusError(code, text)");
  });
});

/** The error of a call of ours to another service. */
function refusedBy(other: Secured): Promise<unknown> {
  const client: Client = other.client();
  return new Promise((resolve) => {
    client.makeUnaryRequest(paths.unary, () => Buffer.from("{}"), String, {}, resolve);
  });
}
