// docs/options.md is what the code says, and what it says is so.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { optionPage } from "../../scripts/option-table.ts";
import { chapters, type Group } from "../../scripts/options/groups.ts";
import { agrees, readDoc } from "../../scripts/options/rows.ts";
import { clientSchema } from "../../src/client/secure-client.ts";
import { parseOptions } from "../../src/config/options.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import { allowAuthenticated, anonymous, apiKey, mtls } from "../../src/index.ts";
import { auditSchema } from "../../src/middleware/audit/audit.ts";
import { shutdownSchema } from "../../src/server/secure-server.ts";
import { serverSchema } from "../../src/server/server-options.ts";

const root = resolve(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/options.md"), "utf8");

interface Row {
  readonly of: string;
  readonly path: readonly string[];
  readonly mayBe: string;
  readonly leftOut: string;
}

function rowsOf(markdown: string): readonly Row[] {
  return markdown.split(/^### /m).flatMap((section) => {
    const of = /^`([^`]+)`/.exec(section)?.[1];
    if (of === undefined) return [];
    return [...section.matchAll(/^\| `([^`]+)` +\| (.*?) \| (.*?) \| .*\|$/gm)].map(
      ([, path = "", mayBe = "", leftOut = ""]) => ({
        of,
        // A name that is good everywhere: a path for `methods` and `rules`, a role.
        path: path.split(".").map((name) => (name === "*" ? "/*" : name)),
        mayBe: mayBe.trim(),
        leftOut: leftOut.replaceAll("\\|", "|").trim(),
      }),
    );
  });
}

const rows = rowsOf(page);
const groups = chapters.flatMap((chapter) => chapter.groups);

const store = { find: () => undefined };
const sinks = [{ name: "none", write: async () => {} }];
const definition = {
  get: { path: "/a.B/Get", requestStream: false, responseStream: false },
};
const chain = { authentication: anonymous(), authorization: allowAuthenticated() };

/** The least that each function takes. */
const oauthClient = { id: "billing", secret: "secret" };

const least: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  createSecureServer: { ...chain, tls: { cert: "server.crt", key: "server.key" } },
  secureInterceptors: { ...chain, services: [definition] },
  jwt: { issuer: "https://id.example", audience: "orders", jwksUri: "https://id.example/jwks" },
  apiKey: { store },
  fileApiKeyStore: { path: "keys.json" },
  issueApiKey: { owner: "shop" },
  allOf: { principal: mtls(), actor: apiKey({ store }) },
  rbac: { rules: {} },
  rbacFile: { path: "policy.json" },
  grpcPolicy: { file: "policy.json" },
  redisApiKeyStore: { client: { status: "ready", call() {}, duplicate() {} } },
  postgresApiKeyStore: { pool: { totalCount: 0, connect() {}, on() {} } },
  redisRevocationList: { client: { status: "ready", call() {}, duplicate() {} } },
  postgresRevocationList: { pool: { totalCount: 0, connect() {}, on() {} } },
  redisRateLimitStore: { client: { status: "ready", defineCommand() {} } },
  clientCredentials: { client: oauthClient },
  refreshToken: { client: oauthClient, refreshToken: "rt" },
  tokenExchange: { client: oauthClient, subjectToken: "st" },
  jwtBearer: { client: oauthClient, assertion: () => "a" },
  introspection: { client: oauthClient },
  crlFiles: { paths: ["ca.crl"] },
  opa: { url: "https://opa.example", path: "orders/allow" },
  opaWasm: { file: "policy.wasm" },
  protovalidate: { descriptorSet: "orders.binpb" },
  jsonLinesSink: { path: "audit.jsonl" },
  audit: { sinks, logger: pino({ enabled: false }) },
  logging: { logger: pino({ enabled: false }) },
};

/** The same, in the other way, where one of two options must be given. */
const otherwise: typeof least = {
  jwt: { issuer: "https://id.example", audience: "orders", keys: "a PEM text" },
  grpcPolicy: { policy: "{}" },
};

/** What stands where the page says in words what happens: no value of an option, so nothing to find after parsing. */
const inWords: ReadonlySet<string> = new Set([
  "from everywhere",
  "Node's",
  "the system's",
  "the target's",
  "until its window ends",
  "the server's",
  "the credential's roles are all",
  "this process",
  "they do, where there are sinks",
  "decided by `trustedProxies`",
  "pino to standard output",
  "process warnings (`PalisadeWarning`) of problems",
  "process warnings (`PalisadeWarning`)",
  "none, an access token is sent",
  "nowhere",
  "nobody",
  "nobody is asked",
  "never",
  "at once",
  "nothing",
  "not looked at",
  "a random UUID",
  "now",
  "in 30 days",
  "five minutes ago, for clocks that differ",
  "`days` from now",
  "the address of this issuer",
  "the issuer's first algorithm",
  "the key's own",
  "none",
]);

/** Where the value left out depends on other options: these, and what the option then is. */
const depending: Readonly<Record<string, readonly (readonly [given: object, value: unknown])[]>> = {
  '`"require"` where `clientCa` is given, else `"none"`': [
    [{ cert: "a.crt", key: "a.key" }, "none"],
    [{ cert: "a.crt", key: "a.key", clientCa: "ca.crt" }, "require"],
  ],
  "`true` where a path is given": [
    [{ cert: "a.crt", key: "a.key" }, true],
    [{ cert: Buffer.from("a"), key: Buffer.from("b") }, false],
  ],
};

function groupOf({ of }: Row): Group {
  return groupNamed(of);
}

function groupNamed(of: string): Group {
  const group = groups.find((one) => one.of === of);
  if (group === undefined) throw new Error(`${of}: no such group`);
  return group;
}

/** The options of a function as it sees them; what another function checks is in its place. */
function parsed(group: Group, options: Readonly<Record<string, unknown>>): unknown {
  const whole = parseOptions(group.schema, options, "") as Readonly<Record<string, unknown>>;
  const parts = Object.entries(group.parts ?? {}).map(([name, schema]) => [
    name,
    parseOptions(schema, whole[name] ?? {}, name),
  ]);
  return { ...whole, ...Object.fromEntries(parts) };
}

function problemsOf(group: Group, options: unknown): readonly string[] {
  const schemas = [["", group.schema] as const, ...Object.entries(group.parts ?? {})];
  return schemas.flatMap(([name, schema]) => {
    try {
      parseOptions(schema, name === "" ? options : (at(options, [name]) ?? {}), name);
      return [];
    } catch (error) {
      if (error instanceof ConfigError) return error.problems;
      throw error;
    }
  });
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, name) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, name) : undefined),
    value,
  );
}

/** `value` at the end of `path`, on top of `base`. */
function placed(base: unknown, path: readonly string[], value: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return value;
  return { ...(base as object), [name]: placed(at(base, [name]) ?? {}, rest, value) };
}

/** What a cell of the column "left out" says, as a value. */
function valueIn(text: string): unknown {
  if (text === "none") return undefined;
  const object = /^`\{ (.*) \}`$/.exec(text);
  if (object !== null) return JSON.parse(`{${(object[1] ?? "").replace(/(\w+):/g, '"$1":')}}`);
  const values = [...text.matchAll(/`([^`]*)`/g)].map(([, code = ""]) => JSON.parse(code) as unknown);
  if (values.length > 0) return values.length === 1 ? values[0] : values;
  const number = /^(-?[\d,]+)(?: (?:ms|s|bytes))?$/.exec(text)?.[1];
  if (number === undefined) throw new Error(`"${text}" is no value; what does it say?`);
  return Number(number.replaceAll(",", ""));
}

const isSamePath = (one: readonly string[], other: readonly string[]): boolean =>
  one.join(".") === other.join(".");

const isEmpty = (value: unknown): boolean =>
  value === undefined || (typeof value === "object" && value !== null && Object.keys(value).length === 0);

describe("docs/options.md", () => {
  it("is what the schemas and the doc comments say", () => {
    expect(page, "docs/options.md is stale: npm run docs:options").toBe(optionPage());
  });

  it("has rows of every function that takes options, or says where they are", () => {
    expect(rows.length).toBeGreaterThan(150);
    const told = new Set(rows.map(({ of }) => of));
    expect(groups.filter(({ of, as }) => as === undefined && !told.has(of)).map(({ of }) => of)).toEqual([]);
  });

  it("says of each option what it is when it is left out", () => {
    const wrong = rows.flatMap((row) => {
      const { of, path, leftOut } = row;
      const where = `${of} ${path.join(".")}`;
      if (leftOut.startsWith("required")) return [];
      if (leftOut === "on") return isEmpty(at(parsed(groupOf(row), least[of] ?? {}), path)) ? [where] : [];
      const cases = depending[leftOut];
      if (cases !== undefined) {
        const [option = "", member = ""] = path;
        const part = groupOf(row).parts?.[option] !== undefined && of === "createSecureClient";
        return cases.flatMap(([given, value]) => {
          const files = part ? { ...given, key: Reflect.get(given, "key") } : given;
          return at(parsed(groupOf(row), { ...least[of], [option]: files }), [option, member]) === value
            ? []
            : [where];
        });
      }
      // Of a member of an option that is not there by itself: an empty one in its place.
      const parent = path.slice(0, -1);
      const given = at(least[of], path) === undefined ? least : otherwise;
      const whole = parsed(groupOf(row), given[of] ?? {});
      const byDefault = rows.find((other) => other.of === of && isSamePath(other.path, parent))?.leftOut;
      if (
        parent.length > 0 &&
        (isEmpty(at(whole, parent)) || byDefault === "`false`" || byDefault?.startsWith("`{"))
      ) {
        const begun = problemsOf(groupOf(row), placed(least[of] ?? {}, path.slice(0, -1), {}));
        return begun.some((problem) => problem.startsWith(`${path.join(".")}:`)) ? [where] : [];
      }
      const value = at(whole, path);
      if (inWords.has(leftOut)) return isEmpty(value) || typeof value === "function" ? [] : [where];
      if (typeof value === "function" && leftOut === "none is public") return [];
      return JSON.stringify(value) === JSON.stringify(valueIn(leftOut)) ? [] : [where];
    });
    expect(wrong).toEqual([]);
  });

  it("says which options are required, and no others are", () => {
    const required = rows.filter(({ leftOut }) => leftOut.startsWith("required"));
    const wrong = required.flatMap((row) => {
      const { of, path, leftOut } = row;
      const condition = /with `(\w+): "(\w+)"`/.exec(leftOut);
      const given = condition === null ? {} : { [String(condition[1])]: condition[2] };
      const problems = problemsOf(groupOf(row), placed(least[of] ?? {}, path.slice(0, -1), given));
      return problems.some((problem) => problem.startsWith(`${path.join(".")}:`))
        ? []
        : [`${of} ${path.join(".")}`];
    });
    expect(wrong).toEqual([]);
    expect(required.length).toBeGreaterThan(20);
    // The least that each takes is enough.
    expect(groups.flatMap((group) => problemsOf(group, least[group.of] ?? {}))).toEqual([]);
  });

  it("says the bounds of every number, and the option holds to them", () => {
    const wrong = rows.flatMap((row) => {
      const bounds = /number, (more than )?([\d,]+) to ([\d,]+)/.exec(row.mayBe);
      if (bounds === null) return [];
      const [, above, lower = "", upper = ""] = bounds;
      const path = row.path.join(".");
      const refuses = (value: number): boolean =>
        problemsOf(groupOf(row), placed(least[row.of] ?? {}, row.path, value)).some((problem) =>
          problem.startsWith(`${path}:`),
        );
      const [min, max] = [lower, upper].map((digits) => Number(digits.replaceAll(",", ""))) as [
        number,
        number,
      ];
      const tooSmall = above === undefined ? min - 1 : min;
      const holds =
        !refuses(max) && refuses(max + 1) && refuses(tooSmall) && (above !== undefined || !refuses(min));
      return holds ? [] : [`${row.of} ${path}`];
    });
    expect(wrong).toEqual([]);
  });

  it("agrees with what the other pages tell of defaults", () => {
    const server = parseOptions(serverSchema, least["createSecureServer"], "");
    const { rateLimit, deadline, limits } = server;
    const { perPeer, perPrincipal, failedAuthentication, inFlightPerPrincipal } = rateLimit;
    if (perPeer === false || perPrincipal === false || failedAuthentication === false) {
      throw new Error("a limit that the pages tell is off");
    }
    const { points, durationSec, blockDurationSec } = failedAuthentication;
    const count = (value: unknown): string => Number(value).toLocaleString("en-US");
    const duration = (ms: number): string => (ms === 3_600_000 ? "an hour" : `${ms / 1000} s`);
    expect([perPeer.durationSec, perPrincipal.durationSec]).toEqual([1, 1]);
    const calls = `${duration(deadline.maxUnaryMs)}, a stream after ${duration(deadline.maxStreamMs)}`;
    const clientMs = parseOptions(clientSchema, {}, "").deadlineMs;
    const tolerated = (parsed(groupNamed("jwt"), least["jwt"] ?? {}) as { clockToleranceSec: number })
      .clockToleranceSec;
    if (server.health === false) throw new Error("the health service is off");
    const { watchLimit } = server.health;
    const { graceMs } = parseOptions(shutdownSchema, {}, "");
    const audit = parseOptions(auditSchema, { sinks }, "");
    const told: readonly (readonly [page: string, text: string])[] = [
      [
        "README.md",
        `${limits.maxMetadataBytes / 1024} KiB, and a hard HTTP/2 cap at ${(2 * limits.maxMetadataBytes) / 1024} KiB`,
      ],
      ["README.md", `a unary call ends after ${calls}, a check after ${duration(deadline.checkTimeoutMs)}`],
      [
        "README.md",
        `${count(perPeer.points)} calls a second for each peer, ${perPrincipal.points} for each principal, ` +
          `${inFlightPerPrincipal} in flight for each principal`,
      ],
      [
        "README.md",
        `${limits.maxReceiveMessageBytes / 1024 ** 2} MiB in each direction, decompressed size included; ` +
          `${limits.maxConcurrentStreams} streams on a connection`,
      ],
      [
        "README.md",
        `${points} in ${durationSec} s from a peer, then refused for up to ${blockDurationSec} s`,
      ],
      ["docs/authentication.md", `${points} bad credentials in ${durationSec} s`],
      ["docs/authentication.md", `clocks (${tolerated} s are tolerated)`],
      ["docs/from-grpc-js.md", `A unary call ends after ${calls}`],
      ["docs/from-grpc-js.md", `its calls end after ${duration(clientMs)} unless`],
      ["docs/client.md", `DEADLINE_EXCEEDED after ${duration(clientMs)}, on a stream`],
      [
        "docs/operations.md",
        `${count(watchLimit.perPeer)} open watches for a peer, ${count(watchLimit.total)} in all`,
      ],
      ["docs/operations.md", `calls finish for \`graceMs\` (${count(graceMs)})`],
      ["docs/audit.md", `\`queueLimit\` records (${count(audit.queueLimit)})`],
    ];
    expect(limits.maxSendMessageBytes).toBe(limits.maxReceiveMessageBytes);
    expect(told.filter(([path, text]) => !readFileSync(join(root, path), "utf8").includes(text))).toEqual([]);
  });

  it("is not made from a doc comment that says another default than the schema", () => {
    expect(readDoc("How long, in seconds. Default: 5.")).toEqual({
      meaning: "How long, in seconds.",
      words: "5",
    });
    expect(agrees("20 points in 60 s, then blocked for 300 s", { a: 20, b: 60, c: 300 })).toBe(true);
    expect(agrees("20 points in 60 s", { a: 20, b: 60, c: 300 })).toBe(false);
    expect(agrees("4 MiB", 4 * 1024 * 1024)).toBe(true);
    expect(agrees("10,000", 1000)).toBe(false);
    expect(agrees("true", false)).toBe(false);
    expect(agrees('`"TLSv1.3"`', "TLSv1.2")).toBe(false);
    expect(agrees("none", ["x"])).toBe(false);
  });
});
