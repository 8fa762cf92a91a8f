import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { apiKeyCredentials } from "../../src/client/api-key-credentials.ts";
import { type BearerTokenSource, bearerToken } from "../../src/client/bearer-token.ts";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";

const call = { method: "/orders.v1.Orders/GetOrder", serviceUrl: "https://orders.internal/orders.v1.Orders" };

async function authorization(source: CredentialSource): Promise<string | undefined> {
  return (await source.getCredentials(call))["authorization"];
}

async function failureOf(source: CredentialSource): Promise<StatusError> {
  try {
    await source.getCredentials(call);
  } catch (error) {
    if (error instanceof StatusError) return error;
    throw error;
  }
  throw new Error("expected a failure");
}

function configError(make: () => unknown): ConfigError {
  try {
    make();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("expected a ConfigError");
}

/** What no token or key may be; each holds the word s3cr3t where it holds anything. */
const unsendable: readonly [string, unknown, string][] = [
  ["empty", "", "is empty"],
  ["a line break", "s3cr3t\r\nx-role: admin", "printable ASCII"],
  ["a trailing line feed", "s3cr3t\n", "printable ASCII"],
  [
    "a trailing line feed, as in a file",
    "s3cr3t\n",
    "ends with a line break, which text read from a file often has",
  ],
  ["a trailing line break of Windows", "s3cr3t\r\n", "ends with a line break"],
  ["a space", "s3cr3t s3cr3t", "printable ASCII"],
  ["a NUL", "s3cr3t\0", "printable ASCII"],
  ["a letter outside ASCII", "s3cr3té", "printable ASCII"],
  ["the word Bearer", "Bearer s3cr3t", "Bearer"],
  ["undefined", undefined, "undefined"],
  ["null", null, "null"],
  ["a number", 7, "number"],
];

describe("bearerToken of a string", () => {
  it("K2 sends it, and does not show it when it is printed", async () => {
    const source = bearerToken("s3cr3t.abc-_~+/=");
    expect(await authorization(source)).toBe("Bearer s3cr3t.abc-_~+/=");
    expect(`${inspect(source, { depth: 9, showHidden: true })} ${JSON.stringify(source)}`).not.toContain(
      "s3cr3t",
    );
  });

  it.each(unsendable)("K2 refuses %s at once, without showing it", (_name, token, problem) => {
    const error = configError(() => bearerToken(token as string));
    expect(error.message).toContain("bearerToken: ");
    expect(error.message).toContain(problem);
    expect(inspect(error)).not.toContain("s3cr3t");
  });

  it.each(unsendable)(
    "K2 refuses an API key that is %s at once, without showing it",
    (_name, key, problem) => {
      const error = configError(() => apiKeyCredentials(key as string));
      expect(error.message).toContain(`apiKeyCredentials: the key `);
      expect(error.message).toContain(problem);
      expect(inspect(error)).not.toContain("s3cr3t");
    },
  );

  it.each([[{ file: "" }], [{ file: 7 }], [{ path: "x" }], [{ file: "x", encoding: "utf8" }], [[]]])(
    "K2 refuses the source %j",
    (source) => {
      expect(configError(() => bearerToken(source as BearerTokenSource)).message).toMatch(/bearerToken/);
    },
  );
});

describe("bearerToken of a function", () => {
  it("K2 asks for each call, and waits only for a promise", async () => {
    let count = 0;
    const sync = bearerToken(() => `t-${++count}`);
    expect(sync.getCredentials(call)).toEqual({ authorization: "Bearer t-1" });
    expect(sync.getCredentials(call)).toEqual({ authorization: "Bearer t-2" });
    expect(await authorization(bearerToken(async () => "later"))).toBe("Bearer later");
  });

  it.each(unsendable)("K2 refuses %s that it returns, without showing it", async (_name, token, problem) => {
    for (const source of [bearerToken(() => token as string), bearerToken(async () => token as string)]) {
      const error = await failureOf(source);
      expect(error.code).toBe(status.UNAUTHENTICATED);
      expect(error.message).toContain(problem);
      expect(inspect(error)).not.toContain("s3cr3t");
    }
  });
});

describe("bearerToken of a file", () => {
  let directory: string;
  let path: string;
  let warnings: string[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "palisade-token-"));
    path = join(directory, "token");
    warnings = [];
    vi.spyOn(process, "emitWarning").mockImplementation((warning) => {
      warnings.push(String(warning));
    });
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await rm(directory, { recursive: true });
  });

  /** Files written from now on are old enough for their times to be believed, as a mounted token is. */
  function filesAreOld(): void {
    const later = Date.now() + 3_600_000;
    vi.spyOn(Date, "now").mockImplementation(() => later);
  }

  async function openAndClose(file: string): Promise<object> {
    const handle = await open(file);
    await handle.close();
    return handle;
  }

  it("K2 sends what the file holds, without the line break at its end", async () => {
    await writeFile(path, "  s3cr3t.1\r\n");
    expect(await authorization(bearerToken({ file: path }))).toBe("Bearer s3cr3t.1");
  });

  it("K2 sends the new token after the file was written over with one as long", async () => {
    const source = bearerToken({ file: path });
    // Quickly, so that several writes fall into one tick of the file system's clock.
    for (let n = 100; n < 200; n += 1) {
      await writeFile(path, `token-${n}`);
      expect(await authorization(source)).toBe(`Bearer token-${n}`);
    }
  });

  it("K2 sends the new token after the file was replaced", async () => {
    filesAreOld();
    await writeFile(path, "token-1");
    const source = bearerToken({ file: path });
    expect(await authorization(source)).toBe("Bearer token-1");
    await writeFile(`${path}.new`, "token-2");
    await rename(`${path}.new`, path);
    expect(await authorization(source)).toBe("Bearer token-2");
  });

  it("K2 sends the new token after a Kubernetes volume was swapped", async () => {
    filesAreOld();
    for (const version of ["..1", "..2"]) {
      await mkdir(join(directory, version));
      await writeFile(join(directory, version, "token"), `token${version}`);
    }
    await symlink("..1", join(directory, "..data"));
    await symlink("..data/token", path);
    const source = bearerToken({ file: path });
    expect(await authorization(source)).toBe("Bearer token..1");
    await symlink("..2", join(directory, "..data_tmp"));
    await rename(join(directory, "..data_tmp"), join(directory, "..data"));
    expect(await authorization(source)).toBe("Bearer token..2");
  });

  it("K2 keeps the last good token while the file is away, empty or no token, and warns once each time", async () => {
    await writeFile(path, "good-1");
    const source = bearerToken({ file: path });
    expect(await authorization(source)).toBe("Bearer good-1");
    await rm(path);
    expect(await authorization(source)).toBe("Bearer good-1");
    expect(await authorization(source)).toBe("Bearer good-1");
    expect(warnings).toEqual([expect.stringMatching(/ENOENT.*last good token/)]);
    await writeFile(path, "good-2");
    expect(await authorization(source)).toBe("Bearer good-2");
    for (const bad of ["", "\n", "s3cr3t s3cr3t"]) {
      await writeFile(path, bad);
      expect(await authorization(source)).toBe("Bearer good-2");
    }
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).not.toMatch(/s3cr3t|good-/);
    await writeFile(path, "good-3");
    expect(await authorization(source)).toBe("Bearer good-3");
  });

  it("K2 reads a file again that is so young that its times may not show a change", async () => {
    await writeFile(path, "token-1");
    const source = bearerToken({ file: path });
    const read = vi.spyOn(Object.getPrototypeOf(await openAndClose(path)), "readFile");
    vi.spyOn(Date, "now").mockReturnValue(Date.now());
    for (let i = 0; i < 3; i += 1) expect(await authorization(source)).toBe("Bearer token-1");
    expect(read).toHaveBeenCalledTimes(3);
  });

  it("K2 does not read a file again that did not change", async () => {
    filesAreOld();
    await writeFile(path, "token-1");
    const source = bearerToken({ file: path });
    await authorization(source);
    const prototype = Object.getPrototypeOf(await openAndClose(path));
    const read = vi.spyOn(prototype, "readFile");
    for (let i = 0; i < 3; i += 1) expect(await authorization(source)).toBe("Bearer token-1");
    expect(read).not.toHaveBeenCalled();
    await writeFile(path, "token-12");
    expect(await authorization(source)).toBe("Bearer token-12");
    expect(read).toHaveBeenCalledOnce();
  });

  it("K2 shares one look at the file between calls at the same time", async () => {
    await writeFile(path, "token-1");
    const source = bearerToken({ file: path });
    const many = await Promise.all(Array.from({ length: 20 }, () => authorization(source)));
    expect(new Set(many)).toEqual(new Set(["Bearer token-1"]));
  });

  const { UNAVAILABLE, UNAUTHENTICATED } = status;
  const bad: readonly [string, (file: string) => Promise<unknown>, status, string][] = [
    ["missing", async () => {}, UNAVAILABLE, "cannot be read (ENOENT)"],
    ["a directory", (file) => mkdir(file), UNAVAILABLE, "is not a file"],
    ["a pipe", async (file) => execFileSync("mkfifo", [file]), UNAVAILABLE, "is not a file"],
    ["empty", (file) => writeFile(file, ""), UNAUTHENTICATED, "is empty"],
    ["two lines", (file) => writeFile(file, "s3cr3t\ns3cr3t"), UNAUTHENTICATED, "printable ASCII"],
    ["huge", (file) => writeFile(file, "s3cr3t".repeat(20_000)), UNAUTHENTICATED, "larger than 65536 bytes"],
  ];

  it.each(bad)(
    "K2 fails where the file is %s, naming the file and no secret",
    async (_name, make, code, problem) => {
      await make(path);
      const source = bearerToken({ file: path });
      const error = await failureOf(source);
      expect(error.code).toBe(code);
      expect(error.message).toContain(path);
      expect(error.message).toContain(problem);
      expect(inspect(error)).not.toContain("s3cr3t");
      await rm(path, { recursive: true, force: true });
      await writeFile(path, "here-now");
      expect(await authorization(source)).toBe("Bearer here-now");
    },
  );

  function jwtUntil(expiresAt: number, id = "1"): string {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    return `${part({ alg: "ES256" })}.${part({ exp: expiresAt / 1000, id })}.sig`;
  }

  /** The process's clock, moved by hand; files are old by it. */
  function clock(): { now: number } {
    const time = { now: Date.now() + 3_600_000 };
    vi.spyOn(Date, "now").mockImplementation(() => time.now);
    return time;
  }

  it("K2 keeps the last good token of a file that is away until 30 seconds before it expires, not longer", async () => {
    const time = clock();
    const token = jwtUntil(time.now + 600_000);
    await writeFile(path, token);
    const source = bearerToken({ file: path });
    expect(await authorization(source)).toBe(`Bearer ${token}`);
    await rm(path);
    time.now += 569_000;
    expect(await authorization(source)).toBe(`Bearer ${token}`);
    time.now += 1_000;
    const error = await failureOf(source);
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(error.message).toContain("cannot be read (ENOENT), and the last good token has expired");
    expect(inspect(error)).not.toContain(token);
    const next = jwtUntil(time.now + 600_000, "2");
    await writeFile(path, next);
    expect(await authorization(source)).toBe(`Bearer ${next}`);
  });

  it("K2 reads the file again before the token expires, though its times show no change", async () => {
    const time = clock();
    vi.spyOn(performance, "now").mockImplementation(() => time.now);
    const token = jwtUntil(time.now + 600_000);
    await writeFile(path, token);
    const source = bearerToken({ file: path });
    await authorization(source);
    const read = vi.spyOn(Object.getPrototypeOf(await openAndClose(path)), "readFile");
    time.now += 509_000;
    await authorization(source);
    expect(read).not.toHaveBeenCalled();
    time.now += 1_000;
    for (let i = 0; i < 3; i += 1) expect(await authorization(source)).toBe(`Bearer ${token}`);
    expect(read).toHaveBeenCalledOnce();
    time.now += 1_000;
    await authorization(source);
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("K2 reads a file that holds no token again only after a while, or when it has changed", async () => {
    const time = clock();
    vi.spyOn(performance, "now").mockImplementation(() => time.now);
    await writeFile(path, "");
    const source = bearerToken({ file: path });
    const read = vi.spyOn(Object.getPrototypeOf(await openAndClose(path)), "readFile");
    for (let i = 0; i < 3; i += 1) expect((await failureOf(source)).code).toBe(status.UNAUTHENTICATED);
    expect(read).toHaveBeenCalledOnce();
    time.now += 1_300;
    for (let i = 0; i < 3; i += 1) await failureOf(source);
    expect(read).toHaveBeenCalledTimes(2);
    time.now += 1_250;
    await failureOf(source);
    expect(read).toHaveBeenCalledTimes(2);
    await writeFile(path, "token-1");
    expect(await authorization(source)).toBe("Bearer token-1");
  });

  it("K5 reads the file again when a server refused its token as expired", async () => {
    filesAreOld();
    await writeFile(path, "token-1");
    const source = bearerToken({ file: path });
    await authorization(source);
    const read = vi.spyOn(Object.getPrototypeOf(await openAndClose(path)), "readFile");
    await authorization(source);
    expect(read).not.toHaveBeenCalled();
    source.renew?.();
    await authorization(source);
    expect(read).toHaveBeenCalledOnce();
  });

  it.each(["a.b.c", "a.e30.c", "a.eyJleHAiOiJzb29uIn0.c", "a.bnVsbA.c", "opaque", "a.b.c.d.e"])(
    "K2 sends a token that says no end, such as %s, as long as it is there",
    async (token) => {
      const time = clock();
      await writeFile(path, token);
      const source = bearerToken({ file: path });
      expect(await authorization(source)).toBe(`Bearer ${token}`);
      await rm(path);
      time.now += 1_000_000_000;
      expect(await authorization(source)).toBe(`Bearer ${token}`);
    },
  );
});
