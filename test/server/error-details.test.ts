// A client reads what a server says of a refused call (C5), over real sockets.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { StatusError } from "../../src/grpc/errors.ts";
import { errorDetails } from "../../src/grpc/received-details.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";

describe.each(kinds)("C5 the client of a refused %s call", (kind) => {
  it("C5 reads which fields are wrong", async () => {
    await using wall = await secured({
      validation: { [paths[kind]]: z.object({ text: z.string().max(1) }) },
    });
    const { trailers } = await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      messages: [{ text: "ab" }],
    });
    expect(errorDetails({ metadata: trailers })).toEqual([
      {
        type: "google.rpc.BadRequest",
        fieldViolations: [{ field: "text", description: "Too big: expected string to have <=1 characters" }],
      },
    ]);
  });

  it("C5 reads when to come back", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 60 } } });
    const client = wall.client();
    const metadata = await wall.authorized();
    await invoke(client, kind, { metadata });
    const { trailers, name } = await invoke(client, kind, { metadata });
    expect(name).toBe("RESOURCE_EXHAUSTED");
    const [detail] = errorDetails({ metadata: trailers });
    expect(detail).toMatchObject({ type: "google.rpc.RetryInfo" });
    const ms = detail !== undefined && "retryDelayMs" in detail ? detail.retryDelayMs : 0;
    expect(ms).toBeGreaterThan(0);
    expect(ms).toBeLessThanOrEqual(60_000);
  });
});

describe("C5 a handler", () => {
  it("C5 says which limit was reached", async () => {
    const violations = [{ subject: "user:ada", description: "10 exports a day" }];
    await using wall = await secured({
      handlers: {
        unary: (_call: unknown, callback: (error: Error) => void) =>
          callback(
            new StatusError(8, "no exports left", {
              errorDetails: [{ type: "google.rpc.QuotaFailure", violations }],
            }),
          ),
      } as never,
    });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(told).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "no exports left" });
    expect(errorDetails({ metadata: told.trailers })).toEqual([
      { type: "google.rpc.QuotaFailure", violations },
    ]);
  });

  it("C5 passes on the details of an outgoing call", async () => {
    await using next = await secured({
      validation: { [paths.unary]: z.object({ text: z.string().max(1) }) },
    });
    const nextClient = next.client();
    const metadata = await next.authorized();
    await using wall = await secured({
      handlers: {
        async unary() {
          const failed = await invoke(nextClient, "unary", { metadata, messages: [{ text: "ab" }] });
          throw StatusError.from({ code: failed.code, details: failed.details, metadata: failed.trailers });
        },
      } as never,
    });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(told).toMatchObject({ name: "INVALID_ARGUMENT", details: "invalid request" });
    expect(errorDetails({ metadata: told.trailers })).toMatchObject([{ type: "google.rpc.BadRequest" }]);
  });
});
