// Certificates that change while the server serves (T4), and that end (T7, T9).
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type ConnectionOptions, connect } from "node:tls";
import { Client, type Metadata, ServerCredentials } from "@grpc/grpc-js";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createSecureClient } from "../../src/client/secure-client.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import { clientCredentials } from "../../src/tls/client-credentials.ts";
import type { ServerTlsOptions } from "../../src/tls/server-tls-options.ts";
import {
  type CertificateFiles,
  contents,
  type FileContents,
  mountedFiles,
  plainFiles,
  renameOver,
  swapLink,
  truncate,
  writeInPlace,
} from "../harness/certificate-files.ts";
import { runNode } from "../harness/child-process.ts";
import { type AnyClientCall, invoke, kinds, type Note, toMetadata } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { RawConnection } from "../harness/raw-http2.ts";
import {
  eventually,
  keptLog,
  type LogLine,
  type Secured,
  secured,
  theWorld,
  type World,
} from "../harness/secured.ts";
import { withTimeEnough } from "../harness/time.ts";
import { callEcho, grpcServer, tlsConnect } from "../tls/endpoints.ts";

/** How long the load below goes on, in seconds: 5, or what PALISADE_RELOAD_SECONDS says. */
const loadSeconds = Number(process.env["PALISADE_RELOAD_SECONDS"] ?? "5");

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const taken = "certificates changed; new connections use the new ones";
const refused = "changed certificates were refused; the last good ones stay in use";

let world: World;
let otherCa: CertificateAuthority;
let first: FileContents;
let second: FileContents;
let secondCertificate: IssuedCertificate;

const forServer = { dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], usage: "server" } as const;

beforeAll(async () => {
  world = await theWorld();
  otherCa = await createCertificateAuthority({ name: "Another CA" });
  secondCertificate = await world.ca.issue(forServer);
  first = contents(world.server, world.ca.caPem);
  second = contents(secondCertificate, world.ca.caPem);
});

afterEach(() => {
  vi.useRealTimers();
});

function tlsOf(files: CertificateFiles, more: Partial<ServerTlsOptions> = {}): ServerTlsOptions {
  return { cert: files.cert, key: files.key, clientCa: files.ca, ...more };
}

function connection(wall: Secured, options: ConnectionOptions = {}): ReturnType<typeof tlsConnect> {
  const { cert, key } = world.client;
  return tlsConnect(wall.port, { ALPNProtocols: ["h2"], ca: world.ca.caPem, cert, key, ...options });
}

/** The fingerprint of the certificate that a new connection is shown. */
async function shown({ port }: Secured): Promise<string> {
  const { cert, key } = world.client;
  const socket = connect({ host: "127.0.0.1", port, servername: "localhost", ca: world.ca.caPem, cert, key });
  await once(socket, "secureConnect");
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

function said(wall: Secured, msg: string): readonly LogLine[] {
  return wall.lines.filter((line) => line.msg === msg);
}

function untilSaid(wall: Secured, msg: string, times = 1): Promise<unknown> {
  return eventually(() => said(wall, msg).length >= times, `"${msg}" in the log`);
}

const ways: readonly [
  how: string,
  make: (first: FileContents) => Promise<CertificateFiles>,
  change: (files: CertificateFiles, next: FileContents) => Promise<void>,
][] = [
  ["written in place", plainFiles, writeInPlace],
  ["renamed over", plainFiles, renameOver],
  ["swapped by a link, as Kubernetes does", mountedFiles, swapLink],
];

describe.each(ways)("T4 files %s", (_how, make, change) => {
  it("T4 are taken by the server; connections from before and after are both served", async () => {
    await using files = await make(first);
    await using wall = await secured({ tls: tlsOf(files) });
    const before = wall.client();
    const metadata = await wall.authorized();
    expect(await invoke(before, "unary", { metadata })).toMatchObject({ name: "OK" });
    expect(await shown(wall)).toBe(world.server.fingerprint256);
    await change(files, second);
    await untilSaid(wall, taken);
    expect(await shown(wall)).toBe(secondCertificate.fingerprint256);
    for (const kind of kinds) {
      expect(await invoke(before, kind, { metadata })).toMatchObject({ name: "OK" });
      expect(await invoke(wall.client(), kind, { metadata })).toMatchObject({ name: "OK" });
    }
    expect(said(wall, refused)).toEqual([]);
  });

  it("T4 are taken by the client; its open stream goes on", async () => {
    await using files = await make(contents(world.client, world.ca.caPem));
    const renewed = await world.ca.issue({ commonName: "renewed", usage: "client" });
    await using wall = await secured();
    const { ca, cert, key } = files;
    const { logger, lines } = keptLog();
    const client = createSecureClient(Client, wall.address, {
      tls: { ca, cert, key },
      logger,
      channelOptions: { "grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 100 },
    });
    const metadata = await wall.authorized();
    const answers: Note[] = [];
    let open: AnyClientCall | undefined;
    const stream = invoke(client, "bidi_stream", {
      metadata,
      keepOpen: true,
      onCall: (call) => {
        open = call;
      },
      onMessage: (note) => answers.push(note),
    });
    await eventually(() => answers.length === 1, "an answer");
    await change(files, contents(renewed, world.ca.caPem));
    await eventually(() => lines.find(({ msg }) => msg === taken), "the client's line");
    if (open === undefined || !("write" in open)) throw new Error("no open stream");
    open.write({ text: "after" });
    await eventually(() => answers.length === 2, "an answer over the old connection");
    open.end();
    expect(await stream).toMatchObject({ name: "OK" });
    client.close();
  });
});

describe("T4 what cannot be used is refused, and the last good one stays", () => {
  interface Spoiled {
    readonly what: string;
    /** In one go: half of it is not to be seen. */
    readonly spoil: (files: CertificateFiles) => unknown;
    readonly because: RegExp;
  }

  const spoiled: readonly Spoiled[] = [
    { what: "a half-written certificate", spoil: ({ cert }) => truncate(cert), because: /tls\.cert: / },
    { what: "a half-written key", spoil: ({ key }) => truncate(key), because: /tls\.key: / },
    { what: "a half-written CA", spoil: ({ ca }) => truncate(ca), because: /tls\.clientCa: / },
    {
      what: "a certificate without its key",
      spoil: ({ cert }) => writeFileSync(cert, second.cert),
      because: /is not the private key of the first certificate/,
    },
    {
      what: "a key without its certificate",
      spoil: ({ key }) => writeFileSync(key, second.key),
      because: /is not the private key of the first certificate/,
    },
    { what: "a certificate that disappears", spoil: ({ cert }) => rm(cert), because: /tls\.cert: .*ENOENT/ },
    { what: "a key that disappears", spoil: ({ key }) => rm(key), because: /tls\.key: .*ENOENT/ },
    { what: "a CA that disappears", spoil: ({ ca }) => rm(ca), because: /tls\.clientCa: .*ENOENT/ },
    { what: "garbage", spoil: ({ cert }) => writeFileSync(cert, "<html>"), because: /contains no PEM text/ },
    {
      what: "an empty CA",
      spoil: ({ ca }) => writeFileSync(ca, ""),
      because: /tls\.clientCa: .* contains no PEM/,
    },
    {
      what: "an expired certificate",
      spoil: async (files) => {
        const expired = await world.ca.issue({
          ...forServer,
          notBefore: new Date(Date.now() - 2 * dayMs),
          notAfter: new Date(Date.now() - dayMs),
        });
        await renameOver(files, contents(expired, world.ca.caPem));
      },
      because: /expired on/,
    },
    {
      what: "a certificate for clients",
      spoil: async (files) => {
        const forClient = await world.ca.issue({ ...forServer, usage: "client" });
        await renameOver(files, contents(forClient, world.ca.caPem));
      },
      because: /is not a certificate for a server: .* lack serverAuth/,
    },
    {
      what: "all of them gone",
      spoil: ({ directory }) => rm(directory, { recursive: true }),
      because: /ENOENT/,
    },
  ];

  it.each(spoiled)("T4 $what", async ({ spoil, because }) => {
    await using files = await plainFiles(first);
    const meters = registerMeterProvider();
    await using wall = await secured({ tls: tlsOf(files) });
    await spoil(files);
    await untilSaid(wall, refused);
    const [line] = said(wall, refused);
    expect(line).toMatchObject({ level: 40, role: "server", problem: expect.stringMatching(because) });
    expect(JSON.stringify(wall.lines)).not.toContain("PRIVATE KEY");
    expect(await shown(wall)).toBe(world.server.fingerprint256);
    await expect(connection(wall, { cert: undefined, key: undefined })).rejects.toThrow();
    const { points } = await meters.read("palisade.certificate.reloads");
    expect(points).toEqual([{ attributes: { role: "server", result: "refused" }, value: 1 }]);
    await meters.shutdown();
  });

  it("T4 it is said once, however often it is written; and a good pair after it is taken", async () => {
    await using files = await plainFiles(first);
    await using wall = await secured({ tls: tlsOf(files) });
    writeFileSync(files.cert, second.cert);
    await untilSaid(wall, refused);
    writeFileSync(files.cert, second.cert);
    writeFileSync(files.key, second.key);
    await untilSaid(wall, taken);
    expect(said(wall, refused)).toHaveLength(1);
    expect(await shown(wall)).toBe(secondCertificate.fingerprint256);
  });

  it("T4 it is said when the files are again those in use", async () => {
    await using files = await plainFiles(first);
    await using wall = await secured({ tls: tlsOf(files) });
    await rm(files.key);
    await untilSaid(wall, refused);
    writeFileSync(files.key, first.key);
    await untilSaid(wall, "the certificate files can be used again; they are the ones in use");
    expect(said(wall, taken)).toEqual([]);
  });
});

describe("T4 what the first context promised every later one promises", () => {
  async function reloaded(files: CertificateFiles, more: Partial<ServerTlsOptions> = {}): Promise<Secured> {
    const wall = await secured({ tls: tlsOf(files, more) });
    await renameOver(files, second);
    await untilSaid(wall, taken);
    return wall;
  }

  it("T4 TLS 1.2 stays refused", async () => {
    await using files = await plainFiles(first);
    await using wall = await reloaded(files);
    await expect(connection(wall, { maxVersion: "TLSv1.2" })).rejects.toThrow(/version|alert/);
    expect(await connection(wall)).toMatchObject({ protocol: "TLSv1.3" });
  });

  it("T4 TLS 1.2 stays allowed where it was asked for", async () => {
    await using files = await plainFiles(first);
    await using wall = await reloaded(files, { minVersion: "TLSv1.2" });
    expect(await connection(wall, { maxVersion: "TLSv1.2" })).toMatchObject({ protocol: "TLSv1.2" });
  });

  it("T4 a client without a certificate stays out, and a stranger's too", async () => {
    await using files = await plainFiles(first);
    await using wall = await reloaded(files);
    const stranger = await otherCa.issue({ commonName: "client", usage: "client" });
    await expect(connection(wall, { cert: undefined, key: undefined })).rejects.toThrow();
    await expect(connection(wall, { cert: stranger.cert, key: stranger.key })).rejects.toThrow();
  });

  it("T4 the chosen ciphers stay the only ones", async () => {
    const ciphers = "TLS_AES_256_GCM_SHA384";
    await using files = await plainFiles(first);
    await using wall = await reloaded(files, { ciphers });
    expect(await connection(wall)).toMatchObject({ cipher: ciphers });
    await expect(connection(wall, { ciphers: "TLS_AES_128_GCM_SHA256" })).rejects.toThrow();
  });

  it("T4 T7 a CA that was taken away vouches for no connection, neither a new one nor one that is open", async () => {
    await using files = await plainFiles(first);
    await using wall = await secured({ tls: tlsOf(files) });
    const old = wall.client();
    const metadata = await wall.authorized();
    expect(await invoke(old, "unary", { metadata })).toMatchObject({ name: "OK" });
    const { session } = await connection(wall);
    await connection(wall, { session });
    await renameOver(files, { ...first, ca: otherCa.caPem });
    await untilSaid(wall, taken);
    await expect(connection(wall)).rejects.toThrow();
    await expect(connection(wall, { session })).rejects.toThrow();
    const welcome = await otherCa.issue({ commonName: "welcome", usage: "client" });
    await connection(wall, { cert: welcome.cert, key: welcome.key });
    expect(await invoke(old, "unary", { metadata })).toMatchObject({ name: "UNAVAILABLE" });
  });

  it.each(["TLSv1.3", "TLSv1.2"] as const)(
    "T4 no %s session from before a reload is resumed",
    async (version) => {
      await using files = await plainFiles(first);
      // With client certificates none is resumed at all.
      const { cert, key } = files;
      await using wall = await secured({ tls: { cert, key, minVersion: version } });
      const { session } = await connection(wall, { maxVersion: version });
      expect(await resumes(wall, session, version)).toBe(true);
      await renameOver(files, second);
      await untilSaid(wall, taken);
      expect(await resumes(wall, session, version)).toBe(false);
    },
  );

  it("T4 the client verifies with the changed CA", async () => {
    await using files = await plainFiles(contents(world.client, otherCa.caPem));
    await using wall = await secured();
    const { logger, lines } = keptLog();
    const { ca, cert, key } = files;
    const client = createSecureClient(Client, wall.address, {
      tls: { ca, cert, key },
      logger,
      channelOptions: {
        "grpc.use_local_subchannel_pool": 1,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 100,
      },
    });
    const metadata = await wall.authorized();
    expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "UNAVAILABLE" });
    await renameOver(files, contents(world.client, world.ca.caPem));
    await eventually(() => lines.find(({ msg }) => msg === taken), "the client's line");
    expect(await invoke(client, "unary", { metadata: waiting(await wall.authorized()) })).toMatchObject({
      name: "OK",
    });
    client.close();
  });
});

it("T4 the client refuses TLS 1.2 after a reload too", async () => {
  await using files = await plainFiles(contents(world.client, otherCa.caPem));
  class OldServer extends ServerCredentials {
    constructor() {
      const old = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
      super(old, { ...old, cert: world.server.cert, key: world.server.key });
    }
    override _equals(other: ServerCredentials): boolean {
      return this === other;
    }
  }
  await using old = await grpcServer(new OldServer());
  await using wall = await secured();
  const { logger, lines } = keptLog();
  const { ca, cert, key } = files;
  const credentials = clientCredentials({ ca, cert, key }, undefined, { logger, metrics: false });
  // As long as one subchannel holds the credentials, they are watched.
  const holding = new Client("localhost:1", credentials, { "grpc.use_local_subchannel_pool": 1 });
  holding.getChannel().getConnectivityState(true);
  await renameOver(files, contents(world.client, world.ca.caPem));
  await eventually(() => lines.find(({ msg }) => msg === taken), "the client's line");
  expect(await callEcho(`localhost:${old.port}`, credentials)).toMatch(/version/);
  const same = new Client(wall.address, credentials, { "grpc.use_local_subchannel_pool": 1 });
  expect(await invoke(same, "unary", { metadata: await wall.authorized() })).toMatchObject({ name: "OK" });
  same.close();
  holding.close();
});

function waiting(headers: Readonly<Record<string, string>>): Metadata {
  const metadata = toMetadata(headers);
  metadata.setOptions({ waitForReady: true });
  return metadata;
}

async function resumes(wall: Secured, session: Buffer, version: "TLSv1.2" | "TLSv1.3"): Promise<boolean> {
  const { cert, key } = world.client;
  const socket = connect({
    host: "127.0.0.1",
    port: wall.port,
    servername: "localhost",
    ALPNProtocols: ["h2"],
    ca: world.ca.caPem,
    maxVersion: version,
    cert,
    key,
    session,
  });
  await once(socket, "secureConnect");
  const reused = socket.isSessionReused();
  socket.destroy();
  return reused;
}

describe("T4 under load", () => {
  it(`T4 a reload every 200 ms during ${loadSeconds} s of calls of all four kinds fails none`, async () => {
    await using serverFiles = await plainFiles(first);
    await using clientFiles = await mountedFiles(contents(world.client, world.ca.caPem));
    await using wall = await secured({
      tls: tlsOf(serverFiles),
      rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
    });
    const otherClient = await world.ca.issue({ commonName: "other", usage: "client" });
    const make = (): Client =>
      createSecureClient(Client, wall.address, {
        tls: { ca: clientFiles.ca, cert: clientFiles.cert, key: clientFiles.key },
        logger: false,
        channelOptions: { "grpc.use_local_subchannel_pool": 1 },
      });
    const metadata = await wall.authorized();
    const until = Date.now() + loadSeconds * 1000;
    const statuses = new Map<string, number>();
    const count = (name: string): unknown => statuses.set(name, (statuses.get(name) ?? 0) + 1);
    const lasting = make();
    // A slow machine takes longer for as many.
    const enough = 20 * loadSeconds;
    const goesOn = (): boolean =>
      Date.now() < until || (statuses.get("OK") ?? 0) <= enough || said(wall, taken).length <= loadSeconds;
    const callers = kinds.map(async (kind) => {
      while (goesOn()) {
        count((await invoke(lasting, kind, { metadata })).name);
        const fresh = make();
        const told = await invoke(fresh, kind, { metadata });
        count(told.name === "OK" ? "OK" : `${told.name} ${told.details}`);
        fresh.close();
      }
    });
    let reloads = 0;
    const changes = (async () => {
      while (goesOn()) {
        const odd = reloads % 2 === 0;
        await renameOver(serverFiles, odd ? second : first);
        await swapLink(clientFiles, contents(odd ? otherClient : world.client, world.ca.caPem));
        reloads += 1;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    })();
    await Promise.all([...callers, changes]);
    lasting.close();
    expect([...statuses.keys()]).toEqual(["OK"]);
    expect(statuses.get("OK")).toBeGreaterThan(enough);
    expect(said(wall, taken).length).toBeGreaterThan(loadSeconds);
  });
});

describe("T4 what watches comes to an end", () => {
  it("T4 after shutdown() files are watched no longer", async () => {
    await using files = await plainFiles(first);
    await using ended = await secured({ tls: tlsOf(files) });
    await using going = await secured({ tls: tlsOf(files) });
    await ended.server.shutdown({ graceMs: 0 });
    await renameOver(files, second);
    await untilSaid(going, taken);
    await renameOver(files, first);
    await untilSaid(going, taken, 2);
    expect(said(ended, taken)).toEqual([]);
  });

  it("T4 with `reload: false` files are read once", async () => {
    await using files = await plainFiles(first);
    await using still = await secured({ tls: tlsOf(files, { reload: false }) });
    await using going = await secured({ tls: tlsOf(files) });
    await renameOver(files, second);
    await untilSaid(going, taken);
    expect(await shown(still)).toBe(world.server.fingerprint256);
    expect(said(still, taken)).toEqual([]);
  });

  it("T4 a watch keeps no process alive", async () => {
    await using files = await plainFiles(first);
    const module = new URL("../../src/config/file-watch.ts", import.meta.url).href;
    const code = `const { FileWatch } = await import(${JSON.stringify(module)});
      new FileWatch({ paths: [${JSON.stringify(files.cert)}], onChange() {} });`;
    const ended = await runNode(["--import", "tsx", "--input-type=module", "-e", code]);
    expect(ended).toEqual({ code: 0, stdout: "", stderr: "" });
  });
});

describe("T7 a connection does not outlive its certificate", () => {
  it("T7 it is closed gracefully when the client's certificate ends: the open call ends first", async () => {
    await using wall = await secured();
    await using long = await RawConnection.open(wall);
    const headers = await wall.authorized();
    // In time for the call to be open before the certificate ends.
    await withTimeEnough(3_000, async (ms) => {
      const notAfter = new Date(Date.now() + ms);
      const short = await world.ca.issue({ commonName: "short", usage: "client", notAfter });
      const brief = await RawConnection.open({ ...wall, world: { ...world, client: short } }).catch(
        () => undefined,
      );
      if (brief === undefined || brief.session.closed || brief.session.destroyed) return false;
      await using _ = brief;
      const goaway = new Promise<number | undefined>((resolve) => {
        brief.session.once("goaway", resolve).once("close", () => resolve(undefined));
      });
      const begun = wall.started.length;
      const open = brief.call("/test.v1.Kinds/BidiStream", { headers, keepOpen: true });
      const code = await goaway;
      if (wall.started.length === begun) return false;
      expect(code).toBe(0);
      expect(open.stream.closed).toBe(false);
      const closed = once(brief.session, "close");
      open.stream.end();
      expect(await open.answer).toMatchObject({ name: "OK" });
      await closed;
      return true;
    });
    expect(long.session.closed).toBe(false);
  });
});

describe("T9 certificates that are about to end", () => {
  const soon = "a certificate expires soon; renew it";

  it("T9 the days left are measured by role, after a reload too", async () => {
    const meters = registerMeterProvider();
    const inTen = await world.ca.issue({ ...forServer, days: 10 });
    await using files = await plainFiles(contents(inTen, world.ca.caPem));
    const wall = await secured({ tls: tlsOf(files) });
    const read = async (): Promise<Record<string, number>> => {
      const { points } = await meters.read("palisade.certificate.days_left");
      return Object.fromEntries(
        points.map(({ attributes, value }) => [String(attributes["role"]), Math.round(Number(value))]),
      );
    };
    expect(await read()).toEqual({ server: 10, ca: 3650 });
    await renameOver(files, contents(await world.ca.issue({ ...forServer, days: 20 }), world.ca.caPem));
    await untilSaid(wall, taken);
    expect(await read()).toEqual({ server: 20, ca: 3650 });
    await wall.close();
    await meters.shutdown();
  });

  it("T9 with `metrics: false` nothing is measured", async () => {
    const meters = registerMeterProvider();
    await using wall = await secured({ metrics: false });
    expect(wall.port).toBeGreaterThan(0);
    expect((await meters.read("palisade.certificate.days_left")).points).toEqual([]);
    await meters.shutdown();
  });

  it.each([
    [167, 1],
    [169, 0],
  ])("T9 %i hours ahead there are %i warnings", async (hours, warnings) => {
    const ending = await world.ca.issue({ ...forServer, notAfter: new Date(Date.now() + hours * hourMs) });
    const tls = {
      cert: Buffer.from(ending.cert),
      key: Buffer.from(ending.key),
      clientCa: Buffer.from(world.ca.caPem),
    };
    await using wall = await secured({ tls });
    expect(said(wall, soon)).toHaveLength(warnings);
    if (warnings > 0) {
      expect(said(wall, soon)[0]).toMatchObject({
        level: 40,
        role: "server",
        fingerprint256: ending.fingerprint256,
      });
    }
  });
});
