// Credentials with white space at their ends (A6): refused where Node shows them, and said at start where it drops them.
import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { dropsPaddedFields, tellOfDroppedFields } from "../../src/server/padded-fields.ts";
import { paths } from "../harness/kinds.ts";
import { keptLog, type Secured, secured } from "../harness/secured.ts";
import { fixedHeaders, forgeHeaders, openWire } from "../harness/wire.ts";

/** Found by experiment: a server of node:http2 that was given the option, and a HEADERS frame made by hand. */
const versions: readonly (readonly [version: string, drops: boolean])[] = [
  ["v20.19.0", true],
  ["v20.20.2", true],
  ["v22.12.0", true],
  ["v22.16.0", true],
  ["v22.17.0", false],
  ["v22.23.3", false],
  ["v23.11.1", true],
  ["v24.0.0", true],
  ["v24.1.0", true],
  ["v24.2.0", false],
  ["v25.0.0", false],
  ["v26.12.1", false],
];

const padded: readonly (readonly [name: string, value: string])[] = [
  ["authorization", "Bearer token "],
  ["authorization", " Bearer token"],
  ["x-api-key", "key\t"],
  ["x-api-key", " "],
];

const strangers = rbac({
  roles: { caller: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, "/test.v1.Kinds/Unary": "public" },
});

async function told(
  wall: Secured,
  field: readonly [name: string, value: string],
): Promise<string | undefined> {
  const fields = [...Object.entries(fixedHeaders(wall, paths.unary)), field];
  await using wire = await openWire(wall, { outbound: forgeHeaders(fields) });
  const message = Buffer.from(JSON.stringify({ text: "hello" }));
  const { code, message: details } = await wire.call({ path: paths.unary, messages: [message] }).ended;
  return code === 0 ? "OK" : details;
}

describe("header fields with white space at their ends", () => {
  it.each(versions)("A6 Node %s drops them: %s", (version, drops) => {
    expect(dropsPaddedFields(version)).toBe(drops);
    const { logger, lines } = keptLog();
    tellOfDroppedFields(logger, version);
    expect(lines.map(({ level }) => level)).toEqual(drops ? [30] : []);
  });

  it("A6 what listen() says of this Node is so", async () => {
    await using wall = await secured({ authorization: strangers });
    const said = wall.lines.filter(({ msg }) => msg?.includes("drops header fields"));
    expect(said).toHaveLength(dropsPaddedFields(process.version) ? 1 : 0);
    for (const field of padded)
      expect(await told(wall, field)).toBe(said.length === 1 ? "OK" : "invalid credentials");
    expect(await told(wall, ["x-api-key", "key"])).toBe("invalid credentials");
  });

  it("A6 nothing is said of it by a server without a log", async () => {
    await using wall = await secured({
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      logger: false,
    });
    expect(wall.lines).toEqual([]);
  });
});
