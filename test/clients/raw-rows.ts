// What no gRPC client sends, and what must come back: a table for raw-http2.test.ts.
import { Buffer } from "node:buffer";
import { deflateSync, gzipSync } from "node:zlib";
import { type Fields, hex, message, type Step, type Told } from "./raw-program.ts";

/** `open`: no authentication, every method is public. `guarded`: a token or an API key. */
export const modes = ["open", "guarded"] as const;
export type Mode = (typeof modes)[number];

/** What a row is given to make its request of. */
export interface Given {
  readonly path: string;
  /** Names the case to the handlers. */
  readonly name: string;
  /** The field of a good token, which every request of the mode `guarded` carries unless its row says otherwise. */
  readonly credential: Fields;
  readonly token: string;
  readonly key: string;
}

/**
 * What the handler may have seen at the end: the whole request; a part of it without its end, which a handler of one message
 * does not see; nothing.
 */
export type Reaches = "all" | "no end" | "nothing";

export interface Expected {
  /** `reset`: by HTTP/2, with whichever code, or with the connection. */
  readonly told: Told | "reset";
  readonly reaches: Reaches;
  /**
   * How many messages a handler that reads a stream gets; at most, where the end does not reach it. Default: 1 where all of
   * the request does, else 0.
   */
  readonly messages?: number;
}

/** What a method that takes one message does with a request, and one that takes a stream. */
export const forms = ["one message", "a stream"] as const;
export type Form = (typeof forms)[number];

export interface Row extends Expected {
  /** With the requirement that it shows. */
  readonly name: string;
  /** Default: in both. */
  readonly mode?: Mode;
  /** Where a method that takes a stream has another answer. */
  readonly onStreams?: Expected;
  /** Where the mode `open` has another answer. */
  readonly inOpen?: Expected;
  readonly fields?: (given: Given) => Fields;
  /** Default: the fields, one message, END_STREAM, and wait until the stream is closed. */
  readonly steps?: (given: Given, fields: Fields) => readonly Step[];
  /** The client never acknowledges the server's SETTINGS. */
  readonly noSettingsAck?: boolean;
  /** A field that the answer carries. */
  readonly answers?: string;
  /** Does the connection not outlive it? `either`: that depends on the Node. Default: it does. */
  readonly ends?: "always" | "either";
}

const ok: Expected = { told: { grpc: "OK" }, reaches: "all" };
const refused = (grpc: string, text: string): Expected => ({ told: { grpc, text }, reaches: "nothing" });
const http = (code: string): Expected => ({ told: { http: code }, reaches: "nothing" });
/** HTTP/2 itself calls it malformed (RFC 9113 section 8.1.1). */
const malformedHttp2: Expected = { told: { reset: "PROTOCOL_ERROR" }, reaches: "nothing" };
const malformed: Expected = {
  told: { grpc: "INTERNAL", text: "malformed request message" },
  reaches: "no end",
};
const missing = refused("UNAUTHENTICATED", "missing credentials");
const invalid = refused("UNAUTHENTICATED", "invalid credentials");
const unknown = refused("UNIMPLEMENTED", "unknown method");
const oneMessage = refused("UNIMPLEMENTED", "one request message expected");

const note = JSON.stringify({ text: "hello" });
const hello = message(note);

/** The fields of a good request. */
export function requestFields({ path, name, credential }: Given): Fields {
  return [
    [":method", "POST"],
    [":scheme", "https"],
    [":path", path],
    [":authority", "localhost"],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ["x-case", name],
    ...credential,
  ];
}

/** The request with these fields in the place of its own, or without them. */
function changed(given: Given, changes: Readonly<Record<string, string | undefined>>): Fields {
  return requestFields(given).flatMap(([name, value]) => {
    if (!(name in changes)) return [[name, value] as const];
    const change = changes[name];
    return change === undefined ? [] : [[name, change] as const];
  });
}

const withField =
  (name: string, ...values: readonly string[]) =>
  (given: Given): Fields => [...requestFields(given), ...values.map((value) => [name, value] as const)];

const replaced =
  (changes: Readonly<Record<string, string | undefined>>) =>
  (given: Given): Fields =>
    changed(given, changes);

/** The request's fields and then these bytes, each piece in a DATA frame of its own, with END_STREAM on the last. */
const body =
  (...pieces: readonly Buffer[]) =>
  (_given: Given, fields: Fields): readonly Step[] => [
    { op: "headers", stream: 1, fields, end: pieces.length === 0 },
    ...pieces.map((piece, index) => ({
      op: "data" as const,
      stream: 1,
      hex: hex(piece),
      end: index === pieces.length - 1,
    })),
    { op: "await", stream: 1 },
  ];

export const standardSteps = body(hello);

/** A good call, to see that the connection goes on. What it is told is not asked. */
const another = (given: Given, stream: number): readonly Step[] => [
  { op: "headers", stream, fields: requestFields({ ...given, name: `${given.name}, afterwards` }) },
  { op: "data", stream, hex: hex(hello), end: true },
  { op: "await", stream },
];

/** Two credentials; `fields` are put behind a request without any. */
const credentials = (
  name: string,
  fields: (given: Given) => readonly (readonly [string, string])[],
  expected: Expected,
): Row => ({
  name: `A6 ${name}`,
  mode: "guarded",
  fields: (given) => [...requestFields({ ...given, credential: [] }), ...fields(given)],
  ...expected,
});

const bearer = (token: string): readonly [string, string] => ["authorization", `Bearer ${token}`];
const key = (value: string): readonly [string, string] => ["x-api-key", value];

const credentialRows: readonly Row[] = [
  credentials("a good token and a good key are both taken", (g) => [bearer(g.token), key(g.key)], ok),
  credentials("a good key and a good token are both taken", (g) => [key(g.key), bearer(g.token)], ok),
  credentials("a good token does not hide a bad key behind it", (g) => [bearer(g.token), key("k")], invalid),
  credentials(
    "a good token does not hide a bad key in front of it",
    (g) => [key("k"), bearer(g.token)],
    invalid,
  ),
  credentials(
    "a good key does not hide a bad token behind it",
    (g) => [key(g.key), bearer(`${g.token}A`)],
    invalid,
  ),
  credentials(
    "a good key does not hide a bad token in front of it",
    (g) => [bearer(`${g.token}A`), key(g.key)],
    invalid,
  ),
  credentials(
    "a good key does not hide an empty token",
    (g) => [["authorization", "Bearer"], key(g.key)],
    invalid,
  ),
  credentials("a good token does not hide an empty key", (g) => [bearer(g.token), key("")], invalid),
  credentials(
    "a good key does not hide an unknown scheme",
    (g) => [["authorization", "Basic YTpi"], key(g.key)],
    invalid,
  ),
  credentials("a good token beside another is refused", (g) => [bearer(g.token), bearer("other")], invalid),
  credentials(
    "another token beside a good one is refused",
    (g) => [bearer("other"), bearer(g.token)],
    invalid,
  ),
  credentials("a good token twice is refused", (g) => [bearer(g.token), bearer(g.token)], invalid),
  credentials(
    "two tokens in one field are refused",
    (g) => [["authorization", `Bearer ${g.token}, Bearer ${g.token}`]],
    invalid,
  ),
  credentials("a good key beside another is refused", (g) => [key(g.key), key("other")], invalid),
  credentials("another key beside a good one is refused", (g) => [key("other"), key(g.key)], invalid),
  credentials("a good key in the wrong field is refused", (g) => [bearer(g.key)], invalid),
  credentials("a good token in the wrong field is refused", (g) => [key(g.token)], invalid),
  credentials(
    "a field name in upper case is no HTTP/2",
    (g) => [["Authorization", `Bearer ${g.token}`]],
    malformedHttp2,
  ),
  credentials(
    "a token as proxy-authorization is none",
    (g) => [["proxy-authorization", `Bearer ${g.token}`]],
    missing,
  ),
  credentials("a token as a cookie is none", (g) => [["cookie", `authorization=Bearer ${g.token}`]], missing),
];

const paths: readonly (readonly [name: string, path: (path: string) => string])[] = [
  ["with a query", (path) => `${path}?x=1`],
  ["with an empty query", (path) => `${path}?`],
  ["with a fragment", (path) => `${path}#x`],
  ["with a parameter", (path) => `${path};x=1`],
  ["with a letter percent-encoded", (path) => path.replace("Kinds", "%4binds")],
  ["with its slash percent-encoded", (path) => path.replace(/\/([^/]+)$/, "%2f$1")],
  ["with two slashes in front", (path) => `/${path}`],
  ["with two slashes in the middle", (path) => path.replace("Kinds/", "Kinds//")],
  ["with a slash at its end", (path) => `${path}/`],
  ["with a dot", (path) => `/.${path}`],
  ["with two dots", (path) => `/x/..${path}`],
  ["with two dots that end at a public method", (path) => `/grpc.health.v1.Health/Check/../..${path}`],
  ["in lower case", (path) => path.toLowerCase()],
  ["in upper case", (path) => path.toUpperCase()],
  ["with a backslash", (path) => path.replace("Kinds/", "Kinds\\")],
  ["of the service alone", (path) => path.replace(/[^/]+$/, "")],
  ["of nothing but a slash", () => "/"],
];

const pathRows: readonly Row[] = [
  ...paths.map(
    ([name, change]): Row => ({
      name: `C8 a path ${name} is an unknown method`,
      fields: (given) => changed(given, { ":path": change(given.path) }),
      ...unknown,
      inOpen: missing,
    }),
  ),
  ...paths.slice(0, 6).map(
    ([name, change]): Row => ({
      name: `C8 A11 a stranger does not learn that a path ${name} is unknown`,
      fields: (given) => changed({ ...given, credential: [] }, { ":path": change(given.path) }),
      ...missing,
    }),
  ),
  {
    name: "C8 a path of another origin is no HTTP/2",
    fields: (given) => changed(given, { ":path": `https://localhost${given.path}` }),
    ...malformedHttp2,
  },
  {
    name: "C8 a path without a slash is no HTTP/2",
    fields: (given) => changed(given, { ":path": given.path.slice(1) }),
    ...malformedHttp2,
  },
  {
    name: "C8 a path with a space at its end is no HTTP/2",
    fields: (given) => changed(given, { ":path": `${given.path} ` }),
    ...malformedHttp2,
  },
  { name: "C8 an empty path is no HTTP/2", fields: replaced({ ":path": "" }), ...malformedHttp2 },
  {
    name: "C8 a request without a path is no HTTP/2",
    fields: replaced({ ":path": undefined }),
    ...malformedHttp2,
  },
  {
    name: "C8 a request with two paths is no HTTP/2",
    fields: (given) => [[":path", "/grpc.health.v1.Health/Check"], ...requestFields(given)],
    ...malformedHttp2,
  },
  {
    name: "C8 a path behind the other fields is no HTTP/2",
    fields: (given) => [...changed(given, { ":path": undefined }), [":path", given.path]],
    ...malformedHttp2,
  },
];

const methodRows: readonly Row[] = [
  ...["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "post", "POSTS"].map(
    (method): Row => ({
      name: `N2 the method ${method} is answered 405`,
      fields: replaced({ ":method": method }),
      ...http("405"),
      answers: "allow",
    }),
  ),
  {
    name: "N2 a CONNECT is answered 405",
    fields: (given) => changed(given, { ":method": "CONNECT", ":path": undefined, ":scheme": undefined }),
    ...http("405"),
  },
  {
    name: "N2 a request without a method is no HTTP/2",
    fields: replaced({ ":method": undefined }),
    ...malformedHttp2,
  },
  {
    name: "N2 a request with two methods is no HTTP/2",
    fields: (given) => [[":method", "GET"], ...requestFields(given)],
    ...malformedHttp2,
  },
];

const contentTypeRows: readonly Row[] = [
  ...[
    "application/grpc+proto",
    "application/grpc+json",
    "application/grpc;charset=utf-8",
    "application/grpc; charset=utf-8",
  ].map((type): Row => ({ name: `N2 ${type} is gRPC`, fields: replaced({ "content-type": type }), ...ok })),
  ...[
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpcfoo",
    "application/grpc/proto",
    "application/grpc,application/grpc",
    "application/json",
    "application/octet-stream",
    "text/plain",
    "APPLICATION/GRPC",
    "xapplication/grpc",
  ].map(
    (type): Row => ({
      name: `N2 ${type} is answered 415`,
      fields: replaced({ "content-type": type }),
      ...http("415"),
    }),
  ),
  {
    name: "N2 an empty content type is answered 415",
    fields: replaced({ "content-type": "" }),
    ...http("415"),
  },
  {
    name: "N2 a request without a content type is answered 415",
    fields: replaced({ "content-type": undefined }),
    ...http("415"),
  },
  {
    name: "N2 of two content types the one that is not gRPC comes first: 415",
    fields: (given) => [
      ...changed(given, { "content-type": undefined }),
      ["content-type", "application/json"],
      ["content-type", "application/grpc"],
    ],
    ...http("415"),
  },
];

const teRows: readonly Row[] = [
  { name: "N1 a request without te is served", fields: replaced({ te: undefined }), ...ok },
  { name: "N2 te: gzip is no HTTP/2", fields: replaced({ te: "gzip" }), ...malformedHttp2 },
  {
    name: "N2 te: trailers, gzip is no HTTP/2",
    fields: replaced({ te: "trailers, gzip" }),
    ...malformedHttp2,
  },
  ...(
    [
      ["connection", "close"],
      ["transfer-encoding", "chunked"],
      ["upgrade", "h2c"],
      ["keep-alive", "1"],
    ] as const
  ).map(
    ([name, value]): Row => ({
      name: `N2 the field ${name}, which HTTP/2 forbids, is refused`,
      fields: withField(name, value),
      ...malformedHttp2,
    }),
  ),
  {
    name: "N2 a request whose content-length is another is no HTTP/2",
    fields: withField("content-length", "3"),
    told: "reset",
    reaches: "no end",
    ends: "either",
  },
];

const squeezed = gzipSync(note);
const unsupported: Expected = { ...refused("UNIMPLEMENTED", "unsupported compression"), reaches: "no end" };

/** Compressed bytes under a name of an encoding. */
const encoded = (
  name: string,
  encoding: readonly string[],
  bytes: Buffer,
  expected: Expected & Partial<Row>,
): Row => ({
  name,
  fields: withField("grpc-encoding", ...encoding),
  steps: body(bytes),
  ...expected,
});

const encodingRows: readonly Row[] = [
  encoded("N1 identity is served", ["identity"], hello, ok),
  encoded("N1 gzip is served", ["gzip"], message(squeezed, 1), ok),
  encoded("N1 deflate is served", ["deflate"], message(deflateSync(note), 1), ok),
  encoded("N1 a message that is not compressed is served where gzip is named", ["gzip"], hello, ok),
  ...["br", "snappy", "GZIP", "gzip2", "x-gzip"].map((name) =>
    encoded(`N2 ${name} is an encoding that nobody knows`, [name], message(squeezed, 1), {
      ...unsupported,
      answers: "grpc-accept-encoding",
    }),
  ),
  encoded("N2 two encodings are one that nobody knows", ["gzip", "identity"], message(squeezed, 1), {
    ...unsupported,
    answers: "grpc-accept-encoding",
  }),
  encoded("N4 what gzip cannot read is malformed", ["gzip"], message("not gzip", 1), {
    ...malformed,
  }),
  encoded("N4 gzip that is cut is malformed", ["gzip"], message(squeezed.subarray(0, -6), 1), {
    ...malformed,
  }),
  encoded(
    "L4 a message that is too large when inflated is refused",
    ["gzip"],
    message(gzipSync(Buffer.alloc(5 * 1024 * 1024)), 1),
    { ...refused("RESOURCE_EXHAUSTED", "message too large"), reaches: "no end" },
  ),
  {
    name: "N4 the flag for compressed without an encoding is malformed",
    steps: body(message(note, 1)),
    ...malformed,
  },
  {
    name: "N4 the flag for compressed with identity is malformed",
    fields: withField("grpc-encoding", "identity"),
    steps: body(message(note, 1)),
    ...malformed,
  },
  {
    name: "N1 what is said in grpc-accept-encoding refuses nothing",
    fields: withField("grpc-accept-encoding", "snappy, br,,"),
    ...ok,
  },
];

const timeoutRows: readonly Row[] = [
  ...["1H", "00000010S", "99999999H", "99999999S", "99999999u", "00100000m"].map(
    (timeout): Row => ({
      name: `L6 grpc-timeout ${timeout} is served`,
      fields: withField("grpc-timeout", timeout),
      ...ok,
    }),
  ),
  ...[
    "",
    "1",
    "S",
    "1s",
    "1h",
    "1X",
    "-1S",
    "+1S",
    "1.5S",
    "1e3S",
    "0x1S",
    "1 S",
    "1S;",
    "100000000S",
    "InfinityS",
  ].map(
    (timeout): Row => ({
      name: `L6 grpc-timeout '${timeout}' is malformed`,
      fields: withField("grpc-timeout", timeout),
      ...refused("INVALID_ARGUMENT", "malformed grpc-timeout"),
    }),
  ),
  {
    name: "L6 two grpc-timeout fields are malformed",
    fields: withField("grpc-timeout", "1H", "2H"),
    ...refused("INVALID_ARGUMENT", "malformed grpc-timeout"),
  },
  ...["0S", "0n", "00000000H"].map(
    (timeout): Row => ({
      name: `L6 grpc-timeout ${timeout} starts no handler`,
      fields: withField("grpc-timeout", timeout),
      ...refused("DEADLINE_EXCEEDED", "deadline exceeded"),
    }),
  ),
];

const framingRows: readonly Row[] = [
  {
    name: "N1 a message a byte a frame is served",
    steps: body(...Array.from(hello, (byte) => Buffer.of(byte))),
    ...ok,
  },
  {
    name: "N1 a header block in many frames is served",
    steps: (_given, fields) => [
      { op: "headers", stream: 1, fields, fragment: 50 },
      { op: "data", stream: 1, hex: hex(hello), end: true },
      { op: "await", stream: 1 },
    ],
    ...ok,
  },
  {
    name: "N1 a padded message is served",
    steps: (_given, fields) => [
      { op: "headers", stream: 1, fields },
      // DATA, PADDED and END_STREAM: seven bytes of padding.
      { op: "frame", type: 0, flags: 0x9, stream: 1, hex: `07${hex(hello)}00000000000000`, end: true },
      { op: "await", stream: 1 },
    ],
    ...ok,
  },
  { name: "N1 a message without bytes is served", steps: body(message("")), ...ok },
  {
    name: "N2 two messages are one too many where one is expected",
    steps: body(Buffer.concat([hello, hello])),
    ...oneMessage,
    onStreams: { ...ok, messages: 2 },
  },
  {
    name: "N2 two messages in two frames are one too many where one is expected",
    steps: body(hello, hello),
    ...oneMessage,
    onStreams: { ...ok, messages: 2 },
  },
  {
    name: "N2 no message is none where one is expected",
    steps: body(),
    ...oneMessage,
    onStreams: { ...ok, messages: 0 },
  },
  {
    name: "N4 a prefix that is cut is malformed",
    steps: body(hello.subarray(0, 3)),
    ...malformed,
  },
  {
    name: "N4 a message that is cut is malformed",
    steps: body(hello.subarray(0, -1)),
    ...malformed,
  },
  {
    name: "N4 a message that says it is longer is malformed",
    steps: body(message(note, 0, 1000)),
    ...malformed,
  },
  {
    name: "N4 bytes behind a message are malformed",
    steps: body(hello, Buffer.from("xyz")),
    ...malformed,
    onStreams: { ...malformed, messages: 1 },
  },
  {
    name: "N4 a second message that is cut is malformed",
    steps: body(hello, hello.subarray(0, -1)),
    ...malformed,
    onStreams: { ...malformed, messages: 1 },
  },
  {
    name: "N4 a message that says it is shorter is malformed",
    steps: body(message(note, 0, note.length - 3)),
    ...malformed,
  },
  {
    name: "N4 what the service cannot read is malformed",
    steps: body(message('{"text":')),
    ...malformed,
  },
  ...[2, 3, 128, 255].map(
    (flag): Row => ({
      name: `N4 the flag byte ${flag} is malformed`,
      steps: body(message(note, flag)),
      ...malformed,
    }),
  ),
  ...[4 * 1024 * 1024 + 1, 0x7fffffff, 0xffffffff].map(
    (length): Row => ({
      name: `L4 a message that says it has ${length} bytes is refused before they come`,
      steps: (_given, fields) => [
        { op: "headers", stream: 1, fields },
        { op: "data", stream: 1, hex: hex(message("x", 0, length)) },
        { op: "await", stream: 1 },
      ],
      ...refused("RESOURCE_EXHAUSTED", "message too large"),
      reaches: "no end",
    }),
  ),
];

/** Waits until the server has taken in what was sent. */
const takenIn: Step = { op: "flood", frame: "ping", count: 1, window: 1 };
const sent = (bytes: Buffer): Step => ({ op: "data", stream: 1, hex: hex(bytes) });
const reset = (code: number): Step => ({ op: "reset", stream: 1, code });

const unfinished = (name: string, steps: readonly Step[]): Row => ({
  name: `N3 ${name} is no end of the request`,
  steps: (given, fields) => [{ op: "headers", stream: 1, fields }, ...steps, ...another(given, 3)],
  told: {},
  reaches: "no end",
  messages: 1,
});

const unfinishedRows: readonly Row[] = [
  unfinished("RST_STREAM CANCEL behind a message", [sent(hello), takenIn, reset(8)]),
  unfinished("RST_STREAM NO_ERROR behind a message", [sent(hello), takenIn, reset(0)]),
  unfinished("RST_STREAM INTERNAL_ERROR behind a message", [sent(hello), takenIn, reset(2)]),
  unfinished("RST_STREAM behind half a message", [sent(hello.subarray(0, 9)), takenIn, reset(8)]),
  unfinished("RST_STREAM behind the header fields", [takenIn, reset(8)]),
  unfinished("RST_STREAM that comes with a message", [sent(hello), reset(8)]),
  {
    name: "N3 a connection that is lost behind a message is no end of the request",
    steps: (_given, fields) => [{ op: "headers", stream: 1, fields }, sent(hello), takenIn, { op: "cut" }],
    told: {},
    reaches: "no end",
    messages: 1,
    ends: "always",
  },
];

/** A request with a message, and these fields behind it. */
const trailers =
  (fields: (given: Given) => Fields, end = true) =>
  (given: Given, request: Fields): readonly Step[] => [
    { op: "headers", stream: 1, fields: request },
    { op: "data", stream: 1, hex: hex(hello) },
    { op: "headers", stream: 1, fields: fields(given), end },
    { op: "await", stream: 1 },
  ];

const trailerRows: readonly Row[] = [
  {
    name: "N1 trailers of the client are not looked at",
    steps: trailers(() => [
      ["grpc-status", "13"],
      ["x-anything", "1"],
    ]),
    ...ok,
  },
  {
    name: "A6 a credential in trailers is none",
    mode: "guarded",
    fields: (given) => requestFields({ ...given, credential: [] }),
    steps: trailers(({ credential }) => credential),
    ...missing,
  },
  {
    name: "A6 a bad credential in trailers takes nothing from the good one",
    mode: "guarded",
    steps: trailers(() => [bearer("bad"), key("bad")]),
    ...ok,
  },
  {
    name: "N2 a path in trailers is no HTTP/2",
    steps: trailers(({ path }) => [[":path", path]]),
    told: { reset: "PROTOCOL_ERROR" },
    reaches: "no end",
    onStreams: { told: { reset: "PROTOCOL_ERROR" }, reaches: "no end", messages: 1 },
  },
  {
    name: "N2 trailers without END_STREAM are no HTTP/2",
    steps: trailers(() => [["x-anything", "1"]], false),
    told: { reset: "PROTOCOL_ERROR" },
    reaches: "no end",
    onStreams: { told: { reset: "PROTOCOL_ERROR" }, reaches: "no end", messages: 1 },
  },
];

const metadata = (bytes: number): ((given: Given) => Fields) =>
  withField("x-large", ...Array.from({ length: bytes / 1000 }, () => "m".repeat(1000)));

const metadataRows: readonly Row[] = [
  { name: "L5 6 kB of metadata are served", fields: metadata(6000), ...ok },
  {
    name: "L5 9 kB of metadata are too large",
    fields: metadata(9000),
    ...refused("RESOURCE_EXHAUSTED", "metadata too large"),
  },
  {
    name: "L5 60 kB of metadata reach nobody",
    fields: metadata(60_000),
    told: "reset",
    reaches: "nothing",
  },
  {
    name: "L5 60 kB of metadata of a client that acknowledges no SETTINGS reach nobody",
    fields: metadata(60_000),
    noSettingsAck: true,
    told: "reset",
    reaches: "nothing",
  },
];

export const rows: readonly Row[] = [
  { name: "N1 a good call is served", ...ok },
  ...credentialRows,
  ...pathRows,
  ...methodRows,
  ...contentTypeRows,
  ...teRows,
  ...encodingRows,
  ...timeoutRows,
  ...framingRows,
  ...unfinishedRows,
  ...trailerRows,
  ...metadataRows,
];
