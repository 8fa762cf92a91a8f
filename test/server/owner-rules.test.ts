// Rules over the request (Z4): in addition to schemes, roles and permissions, for each message, before the handler sees it.
import { describe, expect, it } from "vitest";
import type { CallContext } from "../../src/chain/context.ts";
import { streamsRequests } from "../../src/grpc/method.ts";
import type { Authorizer } from "../../src/middleware/authorization/authorizer.ts";
import type { Requirement } from "../../src/middleware/authorization/method-rule.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { invoke, kinds, type Note } from "../harness/kinds.ts";
import { type SecuredOptions, secured } from "../harness/secured.ts";

/** Is the text of the note the name of its caller? */
const isOwn = (call: CallContext, { text }: Note): boolean => text === call.principal?.subject;

function ruled(rule: Requirement): SecuredOptions {
  return { authorization: rbac({ roles: { caller: {}, admin: {} }, rules: { "/test.v1.Kinds/*": rule } }) };
}

const thrown = new Error("the order ZX-4711 of bob is not there");

describe.each(kinds)("Z4 a rule over the request, %s calls", (kind) => {
  it.each<[string, Requirement, string, string]>([
    ["lets the owner in", { when: isOwn }, "ada", "OK"],
    ["denies somebody else", { when: isOwn }, "bob", "PERMISSION_DENIED"],
    ["waits for a promise", { when: async (call, note: Note) => isOwn(call, note) }, "ada", "OK"],
    [
      "denies after a promise",
      { when: async (call, note: Note) => isOwn(call, note) },
      "bob",
      "PERMISSION_DENIED",
    ],
    ["does not stand for a role", { roles: ["admin"], when: () => true }, "ada", "PERMISSION_DENIED"],
    [
      "does not stand for a permission",
      { permissions: ["note:write"], when: () => true },
      "ada",
      "PERMISSION_DENIED",
    ],
    [
      "denies where it throws",
      {
        when: () => {
          throw thrown;
        },
      },
      "ada",
      "PERMISSION_DENIED",
    ],
    [
      "denies where it rejects",
      {
        when: async () => {
          throw thrown;
        },
      },
      "ada",
      "PERMISSION_DENIED",
    ],
    [
      "denies what is not true, though it looks so",
      { when: (() => "true") as never },
      "ada",
      "PERMISSION_DENIED",
    ],
    ["denies a promise of what is not true", { when: (async () => 1) as never }, "ada", "PERMISSION_DENIED"],
    ["denies undefined", { when: (() => undefined) as never }, "ada", "PERMISSION_DENIED"],
  ])("Z4 %s", async (_what, rule, text, answer) => {
    await using wall = await secured(ruled(rule));
    const told = await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      messages: [{ text }],
    });
    expect(told.name).toBe(answer);
    expect(wall.started).toEqual(answer === "OK" ? [kind] : []);
    const entry = await wall.auditEntry(() => true);
    expect(entry).toMatchObject({ decision: answer === "OK" ? "allow" : "deny", rule: "/test.v1.Kinds/*" });
    // Whatever the condition threw may show the request.
    expect(JSON.stringify(entry)).not.toContain("ZX-4711");
  });

  it("Z4 asks for each message, and the handler sees none that was denied", async () => {
    if (!streamsRequests(kind)) return;
    const seen: string[] = [];
    await using wall = await secured({
      ...ruled({ when: isOwn }),
      middleware: [{ name: "own", onRequest: (message) => void seen.push((message as Note).text) }],
    });
    const told = await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      messages: [{ text: "ada" }, { text: "ada" }, { text: "bob" }, { text: "ada" }],
    });
    expect(told.name).toBe("PERMISSION_DENIED");
    expect(seen).toEqual(["ada", "ada"]);
  });

  it("Z4 a stream without any message is denied, and its handler does not start", async () => {
    if (!streamsRequests(kind)) return;
    await using wall = await secured(ruled({ when: () => true }));
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized(), messages: [] });
    expect(told.name).toBe("PERMISSION_DENIED");
    expect(wall.started).toEqual([]);
  });

  it.each(["spread", "called through"])(
    "Z4 an authorizer that wraps rbac keeps its check: %s",
    async (way) => {
      const inner = rbac({ roles: { admin: {} }, rules: { "/test.v1.Kinds/*": { roles: ["admin"] } } });
      const wrapping: Authorizer = {
        name: "wrapping",
        compile(methods, callers) {
          const policy = inner.compile(methods, callers);
          return {
            forMethod(path) {
              const rule = policy.forMethod(path);
              if (rule === undefined) return undefined;
              const decideMessage = () => ({ effect: "allow", rule: "wrapping" }) as const;
              return way === "spread"
                ? { ...rule, decideMessage }
                : { access: rule.access, decide: (call) => rule.decide(call), decideMessage };
            },
          };
        },
      };
      await using wall = await secured({ authorization: wrapping });
      const told = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
      expect(told.name).toBe("PERMISSION_DENIED");
      expect(wall.started).toEqual([]);
      expect(await wall.auditEntry(() => true)).toMatchObject({
        reason: expect.stringContaining("needs role admin"),
      });
    },
  );
});

it("Z4 the log has what a condition threw, once in a while", async () => {
  await using wall = await secured(
    ruled({
      when: () => {
        throw thrown;
      },
    }),
  );
  const client = wall.client();
  const metadata = await wall.authorized();
  for (let i = 0; i < 3; i++) await invoke(client, "unary", { metadata });
  const told = wall.lines.filter(({ msg }) => String(msg).startsWith("the condition of a rule (when) threw"));
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({ rule: "/test.v1.Kinds/*", err: { message: thrown.message } });
});

it("Z4 the access matrix names the condition", async () => {
  await using wall = await secured(ruled({ roles: ["caller"], when: isOwn }));
  expect(JSON.stringify(wall.server.accessMatrix())).toContain("a condition on the request (when)");
});

it("Z2 a condition that is no function is refused at once", () => {
  expect(() =>
    rbac({ rules: { "/test.v1.Kinds/*": { when: "request.owner == principal.subject" as never } } }),
  ).toThrow("expected a function of the call and the request");
});
