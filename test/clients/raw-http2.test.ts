// HTTP/2 by hand, from Go: each row of raw-rows.ts on methods of all four kinds, without authentication and with it. What
// is served there is served by bare grpc-js too.
import { Buffer } from "node:buffer";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type MethodKind, streamsRequests } from "../../src/grpc/method.ts";
import {
  anonymous,
  anyOf,
  apiKey,
  issueApiKey,
  jwt,
  memoryApiKeyStore,
  rbac,
  type SecureServerOptions,
} from "../../src/index.ts";
import { kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import { type Secured, secured, theWorld, type World } from "../harness/secured.ts";
import { CountedKinds, type Reached } from "./counted-kinds.ts";
import { goProgram } from "./go-programs.ts";
import { type RawResult, runRaw, type Scenario, type Told, toldOn } from "./raw-program.ts";
import {
  type Expected,
  type Form,
  forms,
  type Given,
  type Mode,
  modes,
  type Row,
  requestFields,
  rows,
  standardSteps,
} from "./raw-rows.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

/** One row on one method of one server. */
interface Case extends Pick<Given, "name"> {
  readonly row: Row;
  readonly kind: MethodKind;
  readonly where: Mode | "bare";
}

const caseName = (row: Row, kind: MethodKind, where: Case["where"]): string =>
  `${where} ${kind}: ${row.name}`;

const isServed = ({ reaches }: Row): boolean => reaches === "all";

/** Rows of credentials and of paths alike, each on every kind. */
const cases: readonly Case[] = kinds.flatMap((kind) =>
  ([...modes, "bare"] as const).flatMap((where) =>
    rows
      .filter((row) => (where === "bare" ? isServed(row) : (row.mode ?? where) === where))
      .map((row) => ({ row, kind, where, name: caseName(row, kind, where) })),
  ),
);

const formOf = (kind: MethodKind): Form => (streamsRequests(kind) ? "a stream" : "one message");

function expectedOf(row: Row, form: Form, where: Case["where"]): Expected {
  if (where === "open" && row.inOpen !== undefined) return row.inOpen;
  return form === "a stream" ? (row.onStreams ?? row) : row;
}

/** Of each kind a server of its own: a server stops listening to an address that shows twenty bad credentials. */
async function startServers(
  world: World,
  apiKeyRecord: ReturnType<typeof issueApiKey>["record"],
  counted: CountedKinds,
): Promise<{ address(kind: MethodKind, where: Case["where"]): string; close(): Promise<void> }> {
  const cert = Buffer.from(world.server.cert);
  const key = Buffer.from(world.server.key);
  const { issuer, jwksUri } = world.issuer;
  const options: Readonly<Record<Mode, () => Partial<SecureServerOptions>>> = {
    open: () => ({
      authentication: anonymous(),
      authorization: rbac({
        rules: Object.fromEntries(Object.values(paths).map((path) => [path, "public"])),
      }),
    }),
    guarded: () => ({
      authentication: anyOf(
        jwt({ issuer, audience: "kinds", jwksUri }),
        apiKey({ store: memoryApiKeyStore([apiKeyRecord]) }),
      ),
    }),
  };
  const walls = new Map<string, Secured>();
  for (const kind of kinds) {
    for (const mode of modes) {
      const wall = await secured({ tls: { cert, key }, ...options[mode](), handlers: counted.handlers });
      walls.set(`${mode} ${kind}`, wall);
    }
  }
  const bare = new Server();
  bare.addService(kindsDefinition, counted.handlers);
  const credentials = ServerCredentials.createSsl(null, [{ cert_chain: cert, private_key: key }]);
  const barePort = await new Promise<number>((resolve, reject) => {
    bare.bindAsync("127.0.0.1:0", credentials, (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
  return {
    address: (kind, where) =>
      `127.0.0.1:${where === "bare" ? barePort : (walls.get(`${where} ${kind}`)?.port ?? 0)}`,
    async close() {
      bare.forceShutdown();
      await Promise.all([...walls.values()].map((wall) => wall.close()));
    },
  };
}

describe.skipIf(lacks("go"))("raw HTTP/2", () => {
  const counted = new CountedKinds();
  let results: ReadonlyMap<string, RawResult>;
  let close: (() => Promise<void>) | undefined;

  beforeAll(async () => {
    const program = await goProgram("rawhttp2");
    const world = await theWorld();
    const { key, record } = issueApiKey({ owner: "batch", roles: ["caller"] });
    const token = await world.token({ exp: Math.floor(Date.now() / 1000) + 3_600 });
    const servers = await startServers(world, record, counted);
    close = servers.close;
    const scenarios = cases.map(({ row, kind, where, name }): Scenario => {
      const credential = where === "guarded" ? ([["authorization", `Bearer ${token}`]] as const) : [];
      const given: Given = { path: paths[kind], name, token, key, credential };
      const steps = (row.steps ?? standardSteps)(given, (row.fields ?? requestFields)(given));
      return {
        name,
        address: servers.address(kind, where),
        noSettingsAck: row.noSettingsAck === true,
        steps,
      };
    });
    results = await runRaw({ program, ca: world.ca.caPem, scenarios });
  }, installTimeoutMs);
  afterAll(() => close?.());

  /** What came back and what the handler saw, in a form that can be compared with what is expected. */
  function outcome(
    name: string,
  ): Reached & Pick<RawResult, "timedOut" | "closed"> & { readonly told: Told; readonly error: string } {
    const result = results.get(name);
    if (result === undefined) throw new Error(`${name} was not run`);
    const { timedOut, closed, error = "" } = result;
    return { told: toldOn(result), timedOut, closed, error, ...counted.reached(name) };
  }

  function check({ name, kind, row, where }: Case): void {
    const form = formOf(kind);
    const { told, reaches, messages = reaches === "all" ? 1 : 0 } = expectedOf(row, form, where);
    const seen = outcome(name);
    expect(seen, name).toMatchObject({ timedOut: false, error: "" });
    if (row.ends !== "either") expect(seen.closed, name).toBe(row.ends === "always");
    if (told !== "reset") expect(seen.told, name).toEqual(told);
    else if (!seen.closed) expect(seen.told, name).toEqual({ reset: expect.any(String) });
    const none = { starts: 0, messages: 0, ends: 0 };
    if (reaches === "all") expect(seen, name).toMatchObject({ starts: 1, messages, ends: 1 });
    else if (reaches === "nothing") expect(seen, name).toMatchObject(none);
    else if (reaches === "no end" && form === "one message") expect(seen, name).toMatchObject(none);
    else if (reaches === "no end") {
      // A handler that reads a stream starts when the call is let in, before any message.
      expect(seen.ends, name).toBe(0);
      expect(seen.messages, name).toBeLessThanOrEqual(messages);
    }
    if (row.answers !== undefined) {
      const { headers, trailers } = results.get(name)?.streams["1"] ?? {};
      expect({ ...headers, ...trailers }, name).toHaveProperty(row.answers);
    }
  }

  describe.each(modes)("of the mode %s", (mode) => {
    describe.each(forms)("to a method that takes %s", (form) => {
      for (const row of rows.filter((each) => (each.mode ?? mode) === mode)) {
        const mine = cases.filter(
          (each) => each.row === row && each.where === mode && formOf(each.kind) === form,
        );
        it(row.name, () => {
          for (const each of mine) check(each);
        });
      }
    });
  });

  it("N1 bare grpc-js serves what is served here", () => {
    for (const each of cases.filter(({ where }) => where === "bare")) check(each);
  });
});
