import { describe, expect, it } from "vitest";
import { invoke, kinds } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";

describe.each(kinds)("a %s call", (kind) => {
  it("C1 passes the whole chain and reaches its handler", async () => {
    await using wall = await secured();
    const result = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(result).toMatchObject({ name: "OK" });
    expect(result.messages.map(({ text }) => text)).toEqual(
      kind === "server_stream" ? ["hello", "hello", "hello"] : ["hello"],
    );
    expect(wall.started).toEqual([kind]);
    const line = await wall.callLine(() => true);
    expect(line).toMatchObject({ grpc_code: "OK", principal: "ada" });
    const entry = await wall.auditEntry(() => true);
    expect(entry).toMatchObject({ status: "OK", decision: "allow", caller: { subject: "ada" } });
  });

  it("A11 is refused without credentials, and its handler never starts", async () => {
    await using wall = await secured();
    const result = await invoke(wall.client(), kind, { keepOpen: true });
    expect(result).toMatchObject({ name: "UNAUTHENTICATED", details: "missing credentials" });
    expect(wall.started).toEqual([]);
  });
});
