// Runs the Go program that speaks HTTP/2 frame by frame (go/rawhttp2): what to send, and what came back.
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { status } from "@grpc/grpc-js";

export type Fields = readonly (readonly [name: string, value: string])[];

/** One thing to do on a connection. */
export type Step =
  | {
      readonly op: "headers";
      readonly stream: number;
      /** In their order, pseudo-header fields too; nothing is checked or changed. */
      readonly fields: Fields;
      /** The last field so many times more. */
      readonly repeat?: number;
      /** Bytes of the header block in each frame: HEADERS, then CONTINUATION. Default: all in one. */
      readonly fragment?: number;
      readonly end?: boolean;
    }
  | { readonly op: "data"; readonly stream: number; readonly hex: string; readonly end?: boolean }
  | { readonly op: "reset"; readonly stream: number; readonly code: number }
  /** Any frame at all. */
  | {
      readonly op: "frame";
      readonly type: number;
      readonly flags: number;
      readonly stream: number;
      readonly hex: string;
      /** Do its flags say END_STREAM? */
      readonly end?: boolean;
    }
  /** Wait until the stream is closed on both sides. */
  | { readonly op: "await"; readonly stream: number }
  | { readonly op: "awaitGoaway" }
  | { readonly op: "awaitClosed" }
  /** The connection is lost: nothing says goodbye. */
  | { readonly op: "cut" }
  | {
      readonly op: "flood";
      readonly frame: "ping" | "settings" | "continuation" | "reset" | "data" | "window";
      readonly stream?: number;
      readonly fields?: Fields;
      readonly count: number;
      /** How many may wait for their acknowledgement. Default: nothing is waited for. */
      readonly window?: number;
    };

export interface Scenario {
  readonly name: string;
  /** `host:port` of the server. */
  readonly address: string;
  /** The address to call from. Default: whichever the system takes. */
  readonly from?: string | undefined;
  /** Never acknowledge the server's SETTINGS. */
  readonly noSettingsAck?: boolean;
  readonly steps: readonly Step[];
}

export interface RawStream {
  readonly headers: Readonly<Record<string, string>> | null;
  readonly trailers: Readonly<Record<string, string>> | null;
  readonly data: string;
  /** The code of the server's RST_STREAM by name; empty where there was none. */
  readonly reset: string;
  readonly ended: boolean;
}

export interface RawResult {
  readonly name: string;
  readonly streams: Readonly<Record<string, RawStream>>;
  /** In the order in which the server sent them. */
  readonly goaways: readonly { readonly code: string; readonly debug: string }[];
  /** Did the server end the connection? */
  readonly closed: boolean;
  /** Did a step wait in vain? */
  readonly timedOut: boolean;
  readonly pingAcks: number;
  readonly settingsAcks: number;
  /** How many frames of floods were written. */
  readonly sent: number;
  /** What the program could not do. */
  readonly error?: string;
}

export interface RunOptions {
  /** The program: `goProgram("rawhttp2")`. */
  readonly program: string;
  /** What the servers' certificates are checked against, PEM. */
  readonly ca: string;
  readonly scenarios: readonly Scenario[];
  /** How many at the same time. Default: 8. */
  readonly parallel?: number;
  /** For each scenario. Default: 30,000. */
  readonly timeoutMs?: number;
}

/** What came back in each scenario, by its name. */
export async function runRaw(options: RunOptions): Promise<ReadonlyMap<string, RawResult>> {
  const { program, ca, scenarios, parallel = 8, timeoutMs = 30_000 } = options;
  const child = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
  // It ends when its standard input does, and so with this process.
  const exited = once(child, "exit");
  child.stdin.on("error", () => {});
  child.stdin.write(JSON.stringify({ serverName: "localhost", ca, parallel, timeoutMs, scenarios }));
  const results = new Map<string, RawResult>();
  for await (const line of createInterface({ input: child.stdout })) {
    const result = JSON.parse(line) as RawResult;
    results.set(result.name, result);
  }
  child.stdin.end();
  const [code] = await exited;
  const missing = scenarios.filter(({ name }) => !results.has(name));
  if (code !== 0 || missing.length > 0)
    throw new Error(`rawhttp2: exit code ${code}, without ${missing.map(({ name }) => name).join(", ")}`);
  return results;
}

/** How a call on a stream ended, in a form that a table can hold. */
export interface Told {
  readonly http?: string | undefined;
  readonly grpc?: string | undefined;
  readonly text?: string | undefined;
  /** Of an RST_STREAM that is an error. */
  readonly reset?: string | undefined;
}

export function toldOn({ streams }: RawResult, stream = 1): Told {
  const { headers, trailers, reset = "" } = streams[stream] ?? {};
  const code = trailers?.["grpc-status"] ?? headers?.["grpc-status"];
  const text = trailers?.["grpc-message"] ?? headers?.["grpc-message"];
  const http = headers?.[":status"];
  return {
    ...(http === undefined || http === "200" ? {} : { http }),
    ...(code === undefined ? {} : { grpc: status[Number(code)] ?? code }),
    ...(text === undefined || code === "0" ? {} : { text: withoutId(decodeURIComponent(text)) }),
    ...(reset === "" || reset === "NO_ERROR" ? {} : { reset }),
  };
}

/** An error id is another one each time. */
function withoutId(text: string): string {
  return text.replace(/\(id [0-9a-f-]{36}\)$/, "(id)");
}

export const hex = (bytes: Buffer | string): string => Buffer.from(bytes).toString("hex");

/** One length-prefixed message (gRPC over HTTP/2). */
export function message(contents: Buffer | string, flag = 0, length?: number): Buffer {
  const bytes = Buffer.from(contents);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag, 0);
  prefix.writeUInt32BE(length ?? bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}
