// What packages keep to themselves is used in one folder alone.
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type Finding, privateAccess, problemsOf } from "../../scripts/private-access.ts";

const root = join(import.meta.dirname, "../..");

/** What the rows below share. It uses nothing itself. */
const opening = `import { ChannelCredentials, type Metadata, type Server } from "@grpc/grpc-js";
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import type { Writable } from "node:stream";
import type { TLSSocket } from "node:tls";
import { type Logger, symbols } from "pino";
declare const server: Server, metadata: Metadata, socket: Socket, tls: TLSSocket, emitter: EventEmitter;
declare const logger: Logger, error: Error, lost: unknown;
const key: unique symbol = Symbol("key");
`;

const reported: readonly (readonly [what: string, code: string, found: readonly string[]])[] = [
  ["a member with an underscore", "server._retrieveHandler;", ["_retrieveHandler"]],
  ["one by its text", 'server["_retrieveHandler"];', ["Server._retrieveHandler", "_retrieveHandler"]],
  ["one that is taken out", "const { _parent } = tls;", ["_parent"]],
  ["one that is taken out under another name", "const { _parent: under } = tls;", ["_parent"]],
  ["one that is asked for by Reflect", 'Reflect.get(lost, "_parent");', ["_parent"]],
  ["one whose name is kept first", 'const names = ["_equals"];', ["_equals"]],
  [
    "an override of one",
    "abstract class A extends ChannelCredentials { override _isSecure() { return true; } }",
    ["_isSecure"],
  ],
  ["the type of one", 'type A = ChannelCredentials["_equals"];', ["_equals"]],
  ["a type that has one", "interface A { readonly _parent?: unknown }", ["_parent"]],
  ["an object that is given one", "const a = { _parent: 1 };", ["_parent"]],
  ["Node's listeners taken away", 'emitter.removeAllListeners("stream");', ["removeAllListeners"]],
  ["the same by its text", 'emitter["removeAllListeners"]();', ["removeAllListeners"]],
  ["a private field by its text", 'server["boundPorts"];', ["Server.boundPorts"]],
  ["a private field by Reflect", 'Reflect.set(server, "boundPorts", 1);', ["Server.boundPorts"]],
  ["a protected field by Reflect", 'Reflect.get(metadata, "internalRepr");', ["Metadata.internalRepr"]],
  [
    "a private field by a cast",
    "(metadata as unknown as { readonly internalRepr: unknown }).internalRepr;",
    ["Metadata.internalRepr"],
  ],
  [
    "several by a cast to an interface",
    "interface A { readonly boundPorts: unknown; readonly http2Servers: unknown; start(): void }\nserver as unknown as Partial<A>;",
    ["Server.boundPorts, http2Servers"],
  ],
  ["a cast by way of any", "server as any as { boundPorts: unknown };", ["Server.boundPorts"]],
  ["a cast in brackets", "(server as unknown) as { boundPorts: unknown };", ["Server.boundPorts"]],
  ["a field that nobody declares", "socket as { readonly server?: unknown };", ["Socket.server"]],
  ["all fields by a cast", "emitter as unknown as Record<string, unknown>;", ["EventEmitter.(any member)"]],
  [
    "a cast of what is built on a package's class",
    "class A extends EventEmitter {}\nnew A() as unknown as { domain: unknown };",
    ["EventEmitter.domain"],
  ],
  [
    "a cast of a type parameter",
    "function f<S extends Socket>(a: S) { return a as unknown as { server: unknown }; }",
    ["Socket.server"],
  ],
  [
    "a type predicate",
    "function f(a: Socket): a is Socket & { readonly server: object } { return true; }",
    ["Socket.server"],
  ],
  ["a type that adds a field", "const a: Socket & { server?: unknown } = socket;", ["Socket.server"]],
  ["an interface that adds a field", "interface A extends Socket { server?: unknown }", ["Socket.server"]],
  ["a private field by a constant", 'const n = "boundPorts";\nserver[n];', ["Server.boundPorts"]],
  [
    "one of several by Reflect",
    'declare const n: "boundPorts" | "start";\nReflect.get(server, n);',
    ["Server.boundPorts"],
  ],
  [
    "a name that is put together",
    'Reflect.get(server, "bound" + "Ports"); Reflect.get(lost, "_" + "parent");',
    ["Server.boundPorts", "_parent"],
  ],
  ["a field that is asked for", 'Reflect.has(server, "boundPorts");', ["Server.boundPorts"]],
  ["a field that is its own", 'Object.hasOwn(socket, "server");', ["Socket.server"]],
  [
    "a field that is taken away",
    'Reflect.deleteProperty(server, "createHttp2Server");',
    ["Server.createHttp2Server"],
  ],
  [
    "a method that is given",
    "Object.assign(server, { createHttp2Server: () => undefined });",
    ["Server.createHttp2Server"],
  ],
  [
    "fields that are defined",
    "Object.defineProperties(server, { boundPorts: { value: 1 }, start: { value: 1 } });",
    ["Server.boundPorts"],
  ],
  ["a field behind an in", 'const held = "server" in socket ? socket.server : undefined;', ["Socket.server"]],
  [
    "a private field past TypeScript",
    "// @ts-expect-error\nserver.boundPorts;",
    ["@ts-expect-error", "Server.boundPorts"],
  ],
  ["a field that nobody declares", "/* @ts-ignore */\nsocket?.server;", ["@ts-ignore", "Socket.server"]],
  ["a file that is not checked", "// @ts-nocheck", ["@ts-nocheck"]],
  ["a method by its class", "server.constructor.prototype.bind;", ["Server.constructor"]],
  ["a method by its prototype", "Object.getPrototypeOf(server).bind;", ["getPrototypeOf(Server)"]],
  ["symbols that are looked for", "Object.getOwnPropertySymbols(lost);", ["getOwnPropertySymbols"]],
  [
    "a module inside of grpc-js",
    'import { Call } from "@grpc/grpc-js/build/src/call-interface.js";',
    ["@grpc/grpc-js/build/src/call-interface.js"],
  ],
  [
    "one whose name is put together",
    'await import("@grpc/grpc-js/build" + "/src/" + "call-interface.js");',
    ["@grpc/grpc-js/build/src/call-interface.js"],
  ],
];

const passed: readonly (readonly [what: string, code: string])[] = [
  ["a parameter that is not used", "function f(_socket: Socket): void {}"],
  ["a private member of our own", "class A { readonly #parent = 1; parent() { return this.#parent; } }"],
  ["a value that only looks like one", 'const other = "_OTHER", proto = "__proto__";'],
  ["a listener taken away by itself", 'emitter.off("stream", () => {});'],
  ["a public member by its text", 'socket["remoteAddress"];'],
  ["a cast between types of packages", "emitter as unknown as Writable;"],
  ["a cast to a type with public members alone", "socket as { readonly remoteAddress?: string };"],
  ["a cast of a function", "(lost as () => void) as unknown as (a: number) => string;"],
  ["a cast to our own class", "class A extends EventEmitter { mine = 1; }\nemitter as A;"],
  ["what nobody knows", "lost as { readonly code?: unknown };"],
  ["what an error carries", "error as Error & { code?: string };"],
  ["a state of our own by a symbol", "socket as Socket & { [key]?: number };"],
  ["a symbol that its package exports", "logger as unknown as { [symbols.timeSym]: () => string };"],
  ["all symbols", "logger as unknown as Record<symbol, unknown>;"],
  [
    "fields of any name where the type has them",
    'metadata.getMap()["x"]; metadata.getMap() as Record<string, string>;',
  ],
  [
    "what a subclass may use",
    "class A extends (null as unknown as typeof Metadata) { size() { return this.internalRepr.size; } }",
  ],
  ["a member that a comment names", "// socket._parent"],
  ["public members", 'socket?.remoteAddress; "remoteAddress" in socket; server.start; symbols.timeSym;'],
  ["what one of several has", 'declare const one: EventEmitter | Writable;\n"write" in one;'],
  ["a prototype that is cast at once", "(Object.getPrototypeOf(emitter) as Writable).write;"],
  ["public members that are given", "Object.assign(socket, { allowHalfOpen: true });"],
  [
    "fields that are given to what is ours",
    "Object.assign({}, { boundPorts: 1 }); Object.assign(error, { code: 1 });",
  ],
  ["a text that is put together", 'const a = "a" + "b" + lost;'],
];

describe("access to what packages keep to themselves", () => {
  let found: ReadonlyMap<string, readonly Finding[]>;
  beforeAll(() => {
    const sources = new Map(
      [...reported, ...passed].map(([, code], row) => [`src/row-${row}.ts`, opening + code]),
    );
    const findings = privateAccess(root, sources);
    found = new Map([...sources.keys()].map((file) => [file, findings.filter((each) => each.file === file)]));
  });

  function namesIn(row: number): readonly string[] {
    return (found.get(`src/row-${row}.ts`) ?? []).map(({ what }) => what).sort();
  }

  it.each(reported.map(([what, , names], row) => ({ what, names, row })))(
    "is reported: $what",
    ({ names, row }) => {
      expect(namesIn(row)).toEqual([...names].sort());
    },
  );

  it.each(passed.map(([what], row) => ({ what, row: row + reported.length })))(
    "is not seen in $what",
    ({ row }) => {
      expect(namesIn(row)).toEqual([]);
    },
  );

  it("is reported with its line", () => {
    const [first] = found.get("src/row-0.ts") ?? [];
    expect(first?.line).toBe(opening.split("\n").length);
  });
});

describe("the places where it is allowed", () => {
  function at(file: string): Finding {
    return { file, line: 7, what: "_parent", advice: "is not documented" };
  }

  it("are the transport, and those of the list", () => {
    const findings = [at("src/transport/a.ts"), at("src/old/b.ts"), at("src/c.ts")];
    expect(problemsOf(findings, ["src/old/", "src/c.ts"])).toEqual([]);
  });

  it("are not where TypeScript is silenced", () => {
    const sources = new Map([["src/transport/a.ts", "// @ts-ignore\nexport const a: string = 1;\n"]]);
    expect(problemsOf(privateAccess(root, sources), [])).toEqual([
      "src/transport/a.ts:1 @ts-ignore hides what TypeScript refuses: write what it accepts",
    ]);
  });

  it("are no others", () => {
    expect(problemsOf([at("src/c.ts"), at("src/c.ts.ts")], ["src/c.ts"])).toEqual([
      "src/c.ts.ts:7 _parent is not documented",
    ]);
  });

  it.each([["src/old/"], ["src/old.ts"]])(
    "are taken out of the list when nothing needs them: %s",
    (place) => {
      expect(problemsOf([], [place])).toEqual([
        `${place} does nothing any more that has to be allowed: take it out of the list`,
      ]);
    },
  );
});
