// Messages that do not fit their schema never reach the handler (L7).
import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { encodeStatusDetails } from "../../src/grpc/error-details.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import type { ValidationOptions } from "../../src/middleware/validation/message-checks.ts";
import { validation } from "../../src/middleware/validation/validation.ts";
import type { MessageCheck, Validator } from "../../src/middleware/validation/validator.ts";
import { type InvokeOptions, invoke, kinds, type Note, paths, type Result } from "../harness/kinds.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { secured } from "../harness/secured.ts";

const schema = z.strictObject({
  text: z.string().max(5),
  items: z.array(z.strictObject({ sku: z.string() })).optional(),
});
const all: ValidationOptions = Object.fromEntries(kinds.map((kind) => [paths[kind], schema]));

function detailsOf(told: Result): Buffer {
  const [details] = told.trailers.get("grpc-status-details-bin");
  return Buffer.isBuffer(details) ? details : Buffer.alloc(0);
}

function badRequest(...fieldViolations: readonly { field: string; description: string }[]): Buffer {
  return encodeStatusDetails(3, "invalid request", [{ type: "google.rpc.BadRequest", fieldViolations }]);
}

describe.each(kinds)("L7 the messages of %s calls", (kind) => {
  it("L7 one that does not fit is INVALID_ARGUMENT with the fields that are wrong", async () => {
    await using wall = await secured({ validation: all });
    const secret = "hunter2-much-too-long";
    const message = { text: secret, items: [{ sku: 1 }] } as unknown as Note;
    const told = await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      messages: [message],
      keepOpen: true,
    });
    expect(`${told.name} ${told.details}`).toBe("INVALID_ARGUMENT invalid request");
    expect(detailsOf(told)).toEqual(
      badRequest(
        { field: "text", description: "Too big: expected string to have <=5 characters" },
        { field: "items[0].sku", description: "Invalid input: expected string, received number" },
      ),
    );
    expect(detailsOf(told).includes(secret)).toBe(false);
    expect(await wall.auditEntry(() => true)).toMatchObject({
      rule: "validation",
      reason: "invalid request",
    });
    expect(JSON.stringify([wall.lines, wall.audit])).not.toContain(secret);
  });

  it("L7 one that fits reaches the handler as it was sent", async () => {
    await using wall = await secured({
      validation: { [paths[kind]]: z.object({ text: z.string().transform(() => "changed") }) },
    });
    const options: InvokeOptions = { metadata: await wall.authorized(), messages: [{ text: "sent" }] };
    expect((await invoke(wall.client(), kind, options)).messages[0]).toEqual({ text: "sent" });
  });

  it("L7 a caller who may not call is told that, and not what is wrong with its message", async () => {
    await using wall = await secured({ validation: all });
    const messages = [{ text: "much too long" }];
    expect(await invoke(wall.client(), kind, { messages })).toMatchObject({ name: "UNAUTHENTICATED" });
    expect(
      await invoke(wall.client(), kind, { messages, metadata: await wall.authorized({ roles: ["other"] }) }),
    ).toMatchObject({ name: "PERMISSION_DENIED" });
  });

  it("L7 a raw caller's message of another shape is refused, and answered", async () => {
    await using wall = await secured({ validation: all });
    await using raw = await RawConnection.open(wall);
    for (const body of ['{"text":{"$gt":""}}', "[]", "null", '{"__proto__":{"text":"x"}}', "1e999"]) {
      const { answer } = raw.call(paths[kind], {
        headers: await wall.authorized(),
        body: grpcFrame(body),
        keepOpen: true,
      });
      expect(await answer).toMatchObject({ name: "INVALID_ARGUMENT", details: "invalid request" });
    }
  });
});

describe("L7 a stream", () => {
  it("L7 ends with its first wrong message; those before it were handled", async () => {
    await using wall = await secured({ validation: all });
    const told = await invoke(wall.client(), "bidi_stream", {
      metadata: await wall.authorized(),
      messages: [{ text: "good" }],
      keepOpen: true,
      onMessage: (_note, call) => "write" in call && call.write({ text: "no longer good" }),
    });
    expect(told).toMatchObject({ name: "INVALID_ARGUMENT", messages: [{ text: "good" }] });
  });
});

describe("L7 the answer", () => {
  it("L7 is bounded, however much is wrong and however long its names are", async () => {
    const many = z.record(z.string(), z.number());
    await using wall = await secured({ validation: { [paths.unary]: many } });
    const message = Object.fromEntries(
      Array.from({ length: 500 }, (_, i) => [`${i}${"k".repeat(1000)}`, "x"]),
    ) as unknown as Note;
    const told = await invoke(wall.client(), "unary", {
      metadata: await wall.authorized(),
      messages: [message],
    });
    expect(told).toMatchObject({ name: "INVALID_ARGUMENT", details: "invalid request" });
    expect(detailsOf(told).length).toBeGreaterThan(100);
    expect(detailsOf(told).length).toBeLessThan(8192);
  });

  it("L7 a schema that throws, or answers later, lets nothing pass", async () => {
    for (const bad of [
      z.object({ text: z.string().refine(async () => true) }),
      {
        safeParse(): never {
          throw new Error("broken schema");
        },
      },
      { safeParse: () => undefined as unknown as { success: true } },
    ]) {
      await using wall = await secured({ validation: { [paths.unary]: bad } });
      expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
        name: "INTERNAL",
      });
      expect(wall.started).toEqual([]);
    }
  });
});

const validatorOf = (check: MessageCheck | undefined): Validator => ({ name: "own", compile: () => check });

describe("L7 a validator of one's own", () => {
  it.each<[string, MessageCheck]>([
    ["at once", () => [{ field: "text", description: "no" }]],
    ["later", async () => [{ field: "text", description: "no" }]],
  ])("L7 answers %s", async (_when, check) => {
    await using wall = await secured({ validation: validatorOf(check) });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(told).toMatchObject({ name: "INVALID_ARGUMENT", details: "invalid request" });
    expect(detailsOf(told)).toEqual(badRequest({ field: "text", description: "no" }));
    expect(wall.started).toEqual([]);
  });

  it.each<[string, MessageCheck]>([
    [
      "throws",
      () => {
        throw new Error("hunter2");
      },
    ],
    ["rejects", () => Promise.reject(new Error("hunter2"))],
    ["answers with no list", () => true as never],
    ["answers with nothing", (() => undefined) as never],
    ["answers with no list later", async () => undefined as never],
  ])("L7 lets nothing pass where it %s", async (_what, check) => {
    await using wall = await secured({ validation: validatorOf(check) });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(told).toMatchObject({ name: "INTERNAL" });
    expect(told.details).not.toContain("hunter2");
    expect(wall.started).toEqual([]);
  });

  it("L7 lets pass what it finds nothing wrong with, and is asked once for each method", async () => {
    const asked: string[] = [];
    const validator: Validator = {
      name: "own",
      compile: ({ path }) => {
        asked.push(path);
        return () => [];
      },
    };
    await using wall = await secured({ validation: validator, reflection: { roles: ["caller"] } });
    expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
    expect(asked.sort()).toEqual(Object.values(paths).sort());
  });

  it("L7 that checks no method stops listen()", async () => {
    await expect(secured({ validation: validatorOf(undefined) })).rejects.toThrow(
      "validation: own has no rule for a request message of any registered method",
    );
  });

  it("L7 tells of all methods that it cannot check", async () => {
    const validator: Validator = {
      name: "own",
      compile: ({ path }) => {
        throw new ConfigError(`own: ${path}`);
      },
    };
    const error: unknown = await secured({ validation: validator }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).problems).toHaveLength(4);
  });
});

describe("L7 the options", () => {
  it("L7 are schemas by method, or a validator", () => {
    for (const wrong of [7, "x", null, [], () => {}, { name: "own", compile: 7 }])
      expect(() => validation(wrong as never)).toThrow(ConfigError);
    expect(() => validation(7 as never)).toThrow(
      "validation: expected schemas by method, or a validator, such as protovalidate({ … })",
    );
    expect(() => validation({}, { services: [7] } as never)).toThrow(
      "validation.services.0: must be a service definition, such as OrdersService",
    );
  });

  it("L7 a path that is no method is a ConfigError of listen(), with the nearest", async () => {
    await expect(secured({ validation: { "/test.v1.Kinds/Unari": schema } })).rejects.toThrow(
      new ConfigError(
        'validation./test.v1.Kinds/Unari: no such method; did you mean "/test.v1.Kinds/Unary"?',
      ),
    );
  });

  it.each([
    [{ "/test.v1.Kinds/*": schema }, /validation\.\/test\.v1\.Kinds\/\*: not a method/],
    [{ [paths.unary]: {} }, /validation\..*Unary: must be a zod schema/],
    [{ [paths.unary]: null }, /validation\..*Unary: must be a zod schema/],
  ])("L7 %j is refused", (options, problem) => {
    expect(() => validation(options as ValidationOptions)).toThrow(problem);
  });
});

describe("L7 a schema that is not synchronous", () => {
  it.each(kinds)("L7 refuses a %s call, and the log names the method and what to do", async (kind) => {
    const slow = z.object({}).refine(async () => true);
    await using own = await secured({ validation: { [paths[kind]]: slow } });
    const client = own.client();
    const { name } = await invoke(client, kind, { metadata: await own.authorized() });
    client.close();
    expect(name).toBe("INTERNAL");
    const line = await own.callLine(() => true);
    expect(JSON.stringify(line["err"])).toContain(
      `validation.${paths[kind]}: the schema threw in place of an answer; take asynchronous parts`,
    );
    // A handler of a request stream starts before its first message, which it does not get.
    expect(own.started).toEqual(kind === "client_stream" || kind === "bidi_stream" ? [kind] : []);
  });
});
