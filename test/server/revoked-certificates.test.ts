// Client certificates that are revoked, or whose CA is taken out, before and while the server serves (T7, A12).
import { Buffer } from "node:buffer";
import { EventEmitter, once } from "node:events";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect } from "node:tls";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type CrlFilesOptions, crlFiles } from "../../src/crl/index.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import type { RateLimitStore } from "../../src/middleware/rate-limit/rate-limit-store.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import type { CertificateRevocations } from "../../src/tls/certificate-revocations.ts";
import { certify, revoking } from "../crl/lists.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import {
  eventually,
  keptLog,
  type LogLine,
  type Secured,
  type SecuredOptions,
  secured,
  theWorld,
  type World,
} from "../harness/secured.ts";
import { openCall, told, waitingHandlers } from "../harness/waiting.ts";
import { tlsConnect } from "../tls/endpoints.ts";

const forClient = { commonName: "client", usage: "client" } as const;
const revoked = "UNAUTHENTICATED invalid credentials";

let world: World;
let ca: CertificateAuthority;
let intermediate: CertificateAuthority;
let good: IssuedCertificate;
let deep: IssuedCertificate;

beforeAll(async () => {
  world = await theWorld();
  ca = await createCertificateAuthority({ name: "Clients CA" });
  intermediate = await ca.intermediate();
  [good, deep] = await Promise.all([ca.issue(forClient), intermediate.issue(forClient)]);
});

interface Files extends AsyncDisposable {
  readonly directory: string;
  /** As the documentation asks for: written beside, and renamed. */
  put(name: string, contents: string | Buffer): Promise<void>;
  remove(name: string): Promise<void>;
}

async function files(first: Readonly<Record<string, string | Buffer>>): Promise<Files> {
  const directory = await mkdtemp(join(tmpdir(), "palisade-crl-"));
  const put = async (name: string, contents: string | Buffer): Promise<void> => {
    await writeFile(join(directory, `.${name}.new`), contents);
    await rename(join(directory, `.${name}.new`), join(directory, name));
  };
  for (const [name, contents] of Object.entries(first)) await put(name, contents);
  return {
    directory,
    put,
    remove: (name) => rm(join(directory, name)),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

interface Guarded extends Secured {
  /** What `crlFiles` said. */
  readonly said: readonly LogLine[];
}

interface GuardedOptions extends SecuredOptions {
  readonly crl?: CertificateRevocations;
  readonly lists?: Partial<CrlFilesOptions>;
  readonly clientCa?: string | Buffer;
  readonly clientAuth?: "request" | "require";
  readonly minVersion?: "TLSv1.2";
}

async function guarded(lists: Files | undefined, options: GuardedOptions = {}): Promise<Guarded> {
  const { crl, lists: more, clientCa, clientAuth, minVersion, ...others } = options;
  const { logger, lines: said } = keptLog();
  const fromFiles = lists === undefined ? undefined : crlFiles({ paths: [lists.directory], logger, ...more });
  const asked = crl ?? fromFiles;
  const wall = await secured({
    tls: {
      cert: Buffer.from(world.server.cert),
      key: Buffer.from(world.server.key),
      clientCa: clientCa ?? Buffer.from(ca.caPem),
      ...(asked === undefined ? {} : { crl: asked }),
      ...(clientAuth === undefined ? {} : { clientAuth }),
      ...(minVersion === undefined ? {} : { minVersion }),
    },
    authentication: mtls(),
    authorization: allowAuthenticated(),
    ...others,
  });
  return Object.assign(wall, { said });
}

/** `in` or `out`: does a new connection with this certificate get in? */
async function tried(wall: Secured, issued: IssuedCertificate): Promise<"in" | "out"> {
  const { name } = await invoke(wall.clientWith(issued), "unary");
  return name === "OK" ? "in" : "out";
}

describe("T7 which connections get in", () => {
  it("T7 a certificate on its issuer's list gets no connection, and another one does", async () => {
    const bad = await ca.issue(forClient);
    await using lists = await files({ "ca.crl": await ca.revocationList({ revoked: [bad.cert] }) });
    await using wall = await guarded(lists);
    for (const kind of kinds) {
      expect(await invoke(wall.clientWith(good), kind)).toMatchObject({ name: "OK" });
      expect(await invoke(wall.clientWith(bad), kind)).toMatchObject({ name: "UNAVAILABLE" });
    }
    expect(wall.started).toEqual(kinds);
    const line = await eventually(
      () => wall.lines.find(({ reason }) => reason === "certificate"),
      "the refused connection in the log",
    );
    expect(line).toMatchObject({
      detail: expect.stringMatching(/^the certificate CN=client \(serial number [0-9A-F]+\) is revoked$/),
    });
  });

  it("T7 each certificate of the chain is looked for, and intermediates need lists of their own", async () => {
    await using lists = await files({ "root.crl": await ca.revocationList() });
    await using wall = await guarded(lists);
    expect(await tried(wall, deep)).toBe("out");
    await lists.put("intermediate.crl", await intermediate.revocationList());
    await expect.poll(() => tried(wall, deep)).toBe("in");
    const [, second = ""] = deep.cert.split(/(?<=-----END CERTIFICATE-----\n)/);
    await lists.put("root.crl", await ca.revocationList({ revoked: [second] }));
    await expect.poll(() => tried(wall, deep)).toBe("out");
    expect(await tried(wall, good)).toBe("in");
  });

  it("T7 a certificate without a list is refused, or let in where that was chosen", async () => {
    await using lists = await files({ "other.crl": await world.ca.revocationList() });
    await using strict = await guarded(lists);
    await using lenient = await guarded(lists, { lists: { undetermined: "allow" } });
    expect(await tried(strict, good)).toBe("out");
    expect(await tried(lenient, good)).toBe("in");
    expect(strict.said).toContainEqual(
      expect.objectContaining({
        level: 50,
        client_ca: ["CN=Clients CA"],
        msg: expect.stringContaining("are refused"),
      }),
    );
    expect(lenient.said).toContainEqual(
      expect.objectContaining({ msg: expect.stringContaining("are not checked") }),
    );
  });

  it("T7 a revoked certificate is refused where undetermined ones are let in, whatever the client sends beside it", async () => {
    const bad = await intermediate.issue(forClient);
    // In the name of the intermediate, and without its key: Node lists it among the issuers.
    const impostor = await createCertificateAuthority({ name: "Palisade test intermediate CA" });
    const [leaf = "", ...above] = bad.cert.split(/(?<=-----END CERTIFICATE-----\n)/);
    await using lists = await files({
      "root.crl": await ca.revocationList(),
      "intermediate.crl": await intermediate.revocationList({ revoked: [bad.cert] }),
    });
    await using wall = await guarded(lists, { lists: { undetermined: "allow" } });
    expect(await tried(wall, deep)).toBe("in");
    expect(await tried(wall, bad)).toBe("out");
    expect(await tried(wall, { ...bad, cert: [leaf, impostor.caPem, ...above].join("") })).toBe("out");
    expect(await tried(wall, { ...bad, cert: [leaf, ...above, impostor.caPem].join("") })).toBe("out");
  });

  it("T7 a client that shows no certificate is no matter of lists", async () => {
    await using lists = await files({ "ca.crl": await ca.revocationList() });
    await using wall = await guarded(lists, {
      clientAuth: "request",
      authentication: anyOf(
        mtls(),
        jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
      ),
    });
    const connected = await tlsConnect(wall.port, { ca: world.ca.caPem, ALPNProtocols: ["h2"] }).catch(
      () => undefined,
    );
    expect(connected?.protocol).toBe("TLSv1.3");
  });

  it.each(["TLSv1.2", "TLSv1.3"] as const)(
    "T7 no session of %s is resumed where certificates are verified: it would have no chain to look at",
    async (maxVersion) => {
      const { cert, key } = good;
      await using wall = await guarded(undefined, { minVersion: "TLSv1.2" });
      expect(await resumes(wall, { cert, key, maxVersion })).toBe(false);
      await using open = await secured({
        tls: {
          cert: Buffer.from(world.server.cert),
          key: Buffer.from(world.server.key),
          minVersion: "TLSv1.2",
        },
      });
      expect(await resumes(open, { maxVersion })).toBe(true);
    },
  );

  /** An intermediate that is revoked, another certificate of its key, and what the client sends. */
  const detours: readonly [
    what: string,
    days: readonly [number, number],
    isAuthority: boolean,
    expected: "in" | "out",
  ][] = [
    ["which expired", [-30, -1], true, "out"],
    ["which is not valid yet", [1, 30], true, "out"],
    ["which is no CA", [-1, 30], false, "out"],
    // RFC 5280 would let it in by the other chain. Which of them OpenSSL found good is not known.
    ["which is good", [-1, 30], true, "out"],
  ];

  it.each(detours)(
    "T7 a client of a revoked intermediate does not get in by another certificate of the same key %s",
    async (_what, days, isAuthority, expected) => {
      const root = await certify({ name: "Root", isAuthority: true });
      const revokedOne = await certify({ name: "Int", by: root, isAuthority: true });
      const otherOne = await certify({ name: "Int", by: root, keys: revokedOne.keys, isAuthority, days });
      const leaf = await certify({ name: "leaf", by: revokedOne });
      await using lists = await files({
        "root.crl": await revoking(root, [revokedOne]),
        "int.crl": await revoking(revokedOne, []),
      });
      for (const undetermined of ["refuse", "allow"] as const) {
        await using wall = await guarded(lists, { clientCa: Buffer.from(root.pem), lists: { undetermined } });
        for (const sent of [[otherOne, revokedOne], [revokedOne, otherOne], [revokedOne]]) {
          const cert = [leaf, ...sent].map(({ pem }) => pem).join("");
          expect(await tried(wall, { cert, key: leaf.key, fingerprint256: "" })).toBe(expected);
        }
      }
    },
  );

  it.each([
    ["expired", [-30, -1], true, "out"],
    ["is no CA", [-1, 30], false, "out"],
    ["is good", [-1, 30], true, "in"],
  ] as const)(
    "T7 a list of another root says something of a client only by a certificate that %s",
    async (_what, days, isAuthority, expected) => {
      const [first, second] = [
        await certify({ name: "First", isAuthority: true }),
        await certify({ name: "Second", isAuthority: true }),
      ];
      const verified = await certify({ name: "Int", by: first, isAuthority: true });
      const detour = await certify({ name: "Int", by: second, keys: verified.keys, isAuthority, days });
      const leaf = await certify({ name: "leaf", by: verified });
      // Of the first root there is none.
      await using lists = await files({
        "second.crl": await revoking(second, []),
        "int.crl": await revoking(verified, []),
      });
      await using wall = await guarded(lists, { clientCa: Buffer.from(first.pem + second.pem) });
      const cert = leaf.pem + detour.pem + verified.pem;
      expect(await tried(wall, { cert, key: leaf.key, fingerprint256: "" })).toBe(expected);
    },
  );

  it("T7 a connection whose handshake ends after its CA was taken out does not get in", async () => {
    const { cert, key } = good;
    await using roots = await files({ "ca.crt": ca.caPem + world.ca.caPem });
    await using wall = await guarded(undefined, { clientCa: join(roots.directory, "ca.crt") });
    const accepted = createConnection({ port: wall.port, host: "127.0.0.1" });
    await once(accepted, "connect");
    await roots.put("ca.crt", world.ca.caPem);
    await eventually(
      () => wall.lines.some(({ msg }) => msg?.startsWith("certificates changed")),
      "the new CA",
    );
    const late = connect({
      socket: accepted,
      servername: "localhost",
      ca: world.ca.caPem,
      cert,
      key,
      ALPNProtocols: ["h2"],
    });
    late.on("error", () => {});
    await once(late, "close");
    expect(wall.lines).toContainEqual(
      expect.objectContaining({ detail: "what the client sent leads to no root of tls.clientCa" }),
    );
  });
});

/** Does the server take up a session that it handed out before? */
async function resumes({ port }: Secured, own: ConnectionOptions): Promise<boolean> {
  const options = { port, host: "127.0.0.1", servername: "localhost", ca: world.ca.caPem, ...own };
  const first = connect({ ...options, ALPNProtocols: ["h2"] });
  const [session] = (await once(first, "session")) as [Buffer];
  first.destroy();
  const second = connect({ ...options, ALPNProtocols: ["h2"], session });
  await once(second, "secureConnect");
  const resumed = second.isSessionReused();
  second.destroy();
  return resumed;
}

const answers: readonly [what: string, statusOf: () => unknown, expected: "in" | "out"][] = [
  ["unrevoked", () => ({ status: "unrevoked" }), "in"],
  ["revoked", () => ({ status: "revoked" }), "out"],
  ["undetermined", () => ({ status: "undetermined" }), "out"],
  ["another word", () => ({ status: "good" }), "out"],
  ["a promise", () => Promise.resolve({ status: "unrevoked" }), "out"],
  ["nothing", () => undefined, "out"],
  ["null", () => null, "out"],
  ["true", () => true, "out"],
  [
    "a throw",
    () => {
      throw new Error("s3cr3t");
    },
    "out",
  ],
];

describe("T7 an own source of revocations", () => {
  it.each(answers)("T7 that answers with %s", async (_what, statusOf, expected) => {
    const crl = { name: "own", statusOf: statusOf as CertificateRevocations["statusOf"] };
    await using wall = await guarded(undefined, { crl });
    expect(await tried(wall, good)).toBe(expected);
  });

  it("T7 is given the chain from the certificate to the root, in this order", async () => {
    const seen: string[][] = [];
    const crl: CertificateRevocations = {
      name: "own",
      statusOf(chain) {
        seen.push(chain.map(({ subject }) => subject));
        return { status: "unrevoked" };
      },
    };
    await using wall = await guarded(undefined, { crl });
    await tried(wall, deep);
    await tried(wall, good);
    expect(seen).toEqual([
      ["CN=client", "CN=Palisade test intermediate CA", "CN=Clients CA"],
      ["CN=client", "CN=Clients CA"],
    ]);
  });
});

/** How an open connection loses its certificate. */
const ways: readonly [
  way: string,
  start: (
    client: IssuedCertificate,
    authentication: Authenticator,
    more: SecuredOptions,
  ) => Promise<{
    readonly wall: Guarded;
    readonly lose: () => Promise<unknown>;
    readonly files: Files;
  }>,
][] = [
  [
    "it is revoked",
    async (client, authentication, more) => {
      const lists = await files({ "ca.crl": await ca.revocationList() });
      const wall = await guarded(lists, { authentication, ...more });
      return {
        wall,
        files: lists,
        lose: async () => lists.put("ca.crl", await ca.revocationList({ revoked: [client.cert] })),
      };
    },
  ],
  [
    "its CA is taken out",
    async (_client, authentication, more) => {
      const roots = await files({ "ca.crt": ca.caPem + world.ca.caPem });
      const wall = await guarded(undefined, {
        clientCa: join(roots.directory, "ca.crt"),
        authentication,
        ...more,
      });
      return { wall, files: roots, lose: () => roots.put("ca.crt", world.ca.caPem) };
    },
  ],
];

describe.each(ways)("T7 A12 an open connection, when %s", (_way, start) => {
  const both = (): Authenticator =>
    anyOf(jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }), mtls());

  it.each(kinds)("T7 A12 its %s call ends UNAUTHENTICATED, and another's goes on", async (kind) => {
    const client = await ca.issue(forClient);
    const events = new EventEmitter();
    const started = await start(client, mtls(), { handlers: waitingHandlers(events) });
    await using _files = started.files;
    await using wall = started.wall;
    const others = await openCall(events, wall.client(), kind).catch(() => undefined);
    const aborted = once(events, `aborted ${kind}`);
    const mine = await openCall(events, wall.clientWith(client), kind);
    await started.lose();
    expect(told(await mine.ended)).toBe(revoked);
    await aborted;
    expect(others?.hasEnded() ?? false).toBe(false);
    expect(await tried(wall, client)).toBe("out");
    const line = await wall.callLine(({ principal }) => principal !== undefined);
    expect(line).toMatchObject({ grpc_code: "UNAUTHENTICATED", layer: "authentication", ended_by: "layer" });
  });

  it("T7 A12 a call that a token proved ends with it: the certificate is a credential of the call too", async () => {
    const client = await ca.issue(forClient);
    const events = new EventEmitter();
    const started = await start(client, both(), { handlers: waitingHandlers(events) });
    await using _files = started.files;
    await using wall = started.wall;
    const mine = await openCall(events, wall.clientWith(client), "bidi_stream", await wall.authorized());
    await started.lose();
    expect(told(await mine.ended)).toBe(revoked);
  });

  it("T7 A12 with callsOutliveCredentials the connection takes no new calls, and the open one goes on", async () => {
    const client = await ca.issue(forClient);
    const events = new EventEmitter();
    const started = await start(client, mtls(), {
      handlers: waitingHandlers(events),
      callsOutliveCredentials: true,
    });
    await using _files = started.files;
    await using wall = started.wall;
    const grpcClient = wall.clientWith(client);
    const mine = await openCall(events, grpcClient, "bidi_stream");
    await started.lose();
    await eventually(
      () => wall.lines.some(({ reason }) => reason === "certificate"),
      "the closed connection in the log",
    );
    expect(mine.hasEnded()).toBe(false);
    // On a new connection, which does not get in.
    expect(await invoke(grpcClient, "unary")).toMatchObject({ name: "UNAVAILABLE" });
    expect(mine.hasEnded()).toBe(false);
  });

  it("T7 A12 a call whose check is pending does not get in", async () => {
    const client = await ca.issue(forClient);
    const events = new EventEmitter();
    let answer: (() => void) | undefined;
    const inner = mtls();
    const slow: Authenticator = {
      name: "mtls",
      source: "connection",
      schemes: ["mtls"],
      presents: (call) => inner.presents(call),
      async authenticate(call) {
        const identity = await inner.authenticate(call);
        events.emit("asked");
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
        return identity;
      },
    };
    const handled: EventEmitter = new EventEmitter();
    handled.on("started", () => events.emit("handled"));
    let ran = false;
    events.on("handled", () => {
      ran = true;
    });
    const started = await start(client, slow, { handlers: waitingHandlers(handled) });
    await using _files = started.files;
    await using wall = started.wall;
    const asked = once(events, "asked");
    const ended = invoke(wall.clientWith(client), "unary");
    await asked;
    await started.lose();
    await eventually(
      () => wall.lines.some(({ reason }) => reason === "certificate"),
      "the closed connection in the log",
    );
    answer?.();
    expect(told(await ended)).toBe(revoked);
    expect(ran).toBe(false);
  });
});

describe("T7 what the log says of a connection that is closed", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  const dayMs = 86_400_000;

  it.each([
    [
      "its intermediate has expired",
      async (roots: Files) => {
        vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 20 * dayMs });
        const before = await readFile(join(roots.directory, "ca.crt"), "utf8");
        await roots.put("ca.crt", before + world.ca.caPem);
      },
      "an intermediate certificate that the client sent has expired; give the client a renewed one",
    ],
    [
      "its root was taken out",
      async (roots: Files) => roots.put("ca.crt", world.ca.caPem),
      "no root of tls.clientCa vouches for the certificate any more",
    ],
  ])("T7 %s", async (_what, lose, detail) => {
    const root = await certify({ name: "Root", isAuthority: true, days: [-1, 365] });
    const brief = await certify({ name: "Brief", by: root, isAuthority: true, days: [-1, 10] });
    const leaf = await certify({ name: "client", by: brief, days: [-1, 90] });
    await using roots = await files({ "ca.crt": root.pem });
    await using wall = await guarded(undefined, { clientCa: join(roots.directory, "ca.crt") });
    const issued = {
      cert: leaf.pem + brief.pem,
      key: leaf.key,
      fingerprint256: leaf.certificate.fingerprint256,
    };
    expect(await tried(wall, issued)).toBe("in");
    await lose(roots);
    const line = await eventually(
      () => wall.lines.find(({ reason }) => reason === "certificate"),
      "the closed connection in the log",
    );
    expect(line).toMatchObject({ detail: `an open connection is closed: ${detail}` });
  });
});

describe("T7 clients that do not go", () => {
  it("T7 a connection that its client holds open is cut after a while", async () => {
    const client = await ca.issue(forClient);
    await using lists = await files({ "ca.crl": await ca.revocationList() });
    await using wall = await guarded(lists);
    const { cert, key } = client;
    const options = { ca: world.ca.caPem, cert, key, ALPNProtocols: ["h2"], allowHalfOpen: true };
    const held = connect({ port: wall.port, host: "127.0.0.1", servername: "localhost", ...options });
    held.on("error", () => {});
    await once(held, "secureConnect");
    // The preface of HTTP/2 and empty SETTINGS; then PING after PING, which a socket that is gone answers with a reset.
    held.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    held.write(Buffer.from("000000040000000000", "hex"));
    await once(held, "data");
    held.resume();
    await lists.put("ca.crl", await ca.revocationList({ revoked: [client.cert] }));
    await eventually(
      () => wall.lines.some(({ reason }) => reason === "certificate"),
      "the closed connection",
    );
    const pings = setInterval(
      () => held.write(Buffer.from("0000080600000000000000000000000000", "hex")),
      200,
    );
    try {
      await new Promise((resolve) => held.once("close", resolve));
    } finally {
      clearInterval(pings);
    }
  });

  it("T7 a certificate that is revoked during a shutdown ends its calls, before the shutdown cuts the others", async () => {
    const client = await ca.issue(forClient);
    await using lists = await files({ "ca.crl": await ca.revocationList() });
    const events = new EventEmitter();
    await using wall = await guarded(lists, { handlers: waitingHandlers(events) });
    const mine = await openCall(events, wall.clientWith(client), "bidi_stream");
    const others = await openCall(events, wall.clientWith(good), "server_stream");
    const down = wall.server.shutdown({ graceMs: 60_000 });
    await lists.put("ca.crl", await ca.revocationList({ revoked: [client.cert] }));
    expect(told(await mine.ended)).toBe(revoked);
    expect(others.hasEnded()).toBe(false);
    await lists.put(
      "ca.crl",
      await ca.revocationList({
        revoked: [client.cert, good.cert],
        thisUpdate: new Date(Date.now() + 1_000),
      }),
    );
    expect(told(await others.ended)).toBe(revoked);
    await down;
  });
});

describe("T7 a root that is replaced by another one of its name", () => {
  it.each([
    ["with another key: its connections end", false],
    ["with the same key: they stay", true],
  ])("T7 %s", async (_what, isSameKey) => {
    const first = await certify({ name: "Same", isAuthority: true });
    const second = await certify({
      name: "Same",
      isAuthority: true,
      ...(isSameKey ? { keys: first.keys } : {}),
    });
    const leaf = await certify({ name: "leaf", by: first });
    await using roots = await files({ "ca.crt": first.pem });
    const events = new EventEmitter();
    await using wall = await guarded(undefined, {
      clientCa: join(roots.directory, "ca.crt"),
      handlers: waitingHandlers(events),
    });
    const client = wall.clientWith({ cert: leaf.pem, key: leaf.key, fingerprint256: "" });
    const mine = await openCall(events, client, "bidi_stream");
    await roots.put("ca.crt", second.pem);
    await eventually(
      () => wall.lines.some(({ msg }) => msg?.startsWith("certificates changed")),
      "the new CA",
    );
    if (isSameKey) {
      await openCall(events, client, "server_stream");
      expect(mine.hasEnded()).toBe(false);
      expect(wall.lines.filter(({ reason }) => reason === "certificate")).toEqual([]);
    } else expect(told(await mine.ended)).toBe(revoked);
  });
});

describe("T7 calls that are not authenticated yet", () => {
  it("T7 A12 a call that waits for a limit when its certificate is revoked does not get in, by a token either", async () => {
    const client = await ca.issue(forClient);
    await using lists = await files({ "ca.crl": await ca.revocationList() });
    const events = new EventEmitter();
    const goOn = new EventEmitter();
    let waits = false;
    const allowed = { allowed: true, remaining: 1, retryAfterMs: 0 };
    const store: RateLimitStore = {
      async consume() {
        events.emit("asked");
        if (waits) await once(goOn, "now");
        return allowed;
      },
    };
    await using wall = await guarded(lists, {
      rateLimit: { store },
      authentication: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
    });
    const grpcClient = wall.clientWith(client);
    const metadata = await wall.authorized();
    // From here on the token is known, and verified without a wait.
    expect(await invoke(grpcClient, "unary", { metadata })).toMatchObject({ name: "OK" });
    waits = true;
    const asked = once(events, "asked");
    const ended = invoke(grpcClient, "unary", { metadata });
    await asked;
    await lists.put("ca.crl", await ca.revocationList({ revoked: [client.cert] }));
    await eventually(
      () => wall.lines.some(({ reason }) => reason === "certificate"),
      "the closed connection",
    );
    waits = false;
    goOn.emit("now");
    expect(told(await ended)).toBe(revoked);
    expect(wall.started).toEqual(["unary"]);
  });
});

describe("T7 connections that stay", () => {
  it("T7 a CA that is added, and a list that is renewed, end nothing", async () => {
    const roots = await files({ "ca.crt": ca.caPem });
    await using _roots = roots;
    await using lists = await files({
      "ca.crl": await ca.revocationList(),
      "i.crl": await intermediate.revocationList(),
    });
    const events = new EventEmitter();
    await using wall = await guarded(lists, {
      clientCa: join(roots.directory, "ca.crt"),
      handlers: waitingHandlers(events),
    });
    const calls = [
      await openCall(events, wall.clientWith(good), "bidi_stream"),
      await openCall(events, wall.clientWith(deep), "server_stream"),
    ];
    await roots.put("ca.crt", ca.caPem + world.ca.caPem);
    await eventually(
      () => wall.lines.some(({ msg }) => msg?.startsWith("certificates changed")),
      "the new CA",
    );
    await lists.put("ca.crl", await ca.revocationList({ revoked: [world.client.cert] }));
    await eventually(
      () => wall.said.some(({ msg }) => msg?.startsWith("the revocation lists changed")),
      "the new list",
    );
    await lists.remove("i.crl");
    await eventually(
      () => wall.said.filter(({ msg }) => msg?.startsWith("the revocation lists changed")).length > 1,
      "the list that is gone",
    );
    // What cannot be told any more ends nothing that is open, and lets nothing new in.
    expect(await tried(wall, deep)).toBe("out");
    expect(calls.map(({ hasEnded }) => hasEnded())).toEqual([false, false]);
  });
});
