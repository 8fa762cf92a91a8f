// The service that Connect's conformance suite calls, as its proto describes it, in handlers that a secured server and a
// bare one run alike: each request says what to answer, and the answer says what came.
import { Buffer } from "node:buffer";
import {
  Metadata,
  type MethodDefinition,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";

const packageName = "connectrpc.conformance.v1";

/** `google.protobuf.Any`. */
export interface AnyMessage {
  readonly type_url: string;
  readonly value: Buffer;
}

/** The values of `-bin` fields in base64. */
interface Header {
  readonly name: string;
  readonly value: readonly string[];
}

interface ErrorDefinition {
  readonly code: number;
  readonly message?: string;
  readonly details: readonly AnyMessage[];
}

interface ResponseDefinition {
  readonly response_headers: readonly Header[];
  readonly response_trailers: readonly Header[];
  readonly response_delay_ms: number;
  /** Not there in one of several alternatives, null by itself. */
  readonly error?: ErrorDefinition | null;
}

interface UnaryResponseDefinition extends ResponseDefinition {
  readonly response_data?: Buffer;
}

interface StreamResponseDefinition extends ResponseDefinition {
  readonly response_data: readonly Buffer[];
}

/** A request message, and its bytes as they came, to be sent back. */
interface Received<Definition> {
  readonly definition: Definition | null;
  readonly fullDuplex: boolean;
  readonly echo: AnyMessage;
}

interface RequestInfo {
  readonly request_headers?: readonly Header[];
  readonly timeout_ms?: number;
  readonly requests: readonly AnyMessage[];
}

interface Response {
  readonly payload: { readonly data?: Buffer; readonly request_info?: RequestInfo };
}

type UnaryCall = ServerUnaryCall<Received<UnaryResponseDefinition>, Response>;
type ClientStreamCall = ServerReadableStream<Received<UnaryResponseDefinition>, Response>;
type ServerStreamCall = ServerWritableStream<Received<StreamResponseDefinition>, Response>;
type BidiStreamCall = ServerDuplexStream<Received<StreamResponseDefinition>, Response>;
type AnyCall = UnaryCall | ClientStreamCall | ServerStreamCall | BidiStreamCall;

/** What a call should end with. */
export interface Failure {
  readonly code: status;
  readonly message: string;
  readonly details: readonly AnyMessage[];
  readonly trailers: Metadata;
}

export interface ServerRequest {
  readonly use_tls: boolean;
  readonly client_tls_cert: Buffer;
  readonly message_receive_limit: number;
  readonly server_creds: { readonly cert: Buffer; readonly key: Buffer } | null;
}

export interface ServerResponse {
  readonly host: string;
  readonly port: number;
  readonly pem_cert: Buffer;
}

/** What the suite's protos describe. */
export interface ConformanceProtos {
  readonly definition: ServiceDefinition;
  readonly serverRequest: MessageTypeDefinition<unknown, unknown>;
  readonly serverResponse: MessageTypeDefinition<unknown, unknown>;
  readonly payload: MessageTypeDefinition<unknown, unknown>;
}

export function loadProtos(directory: string): ConformanceProtos {
  const files = ["service.proto", "server_compat.proto"].map((name) => `connectrpc/conformance/v1/${name}`);
  const loaded = loadSync(files, { includeDirs: [directory], defaults: true, keepCase: true, longs: Number });
  const find = (name: string): unknown => {
    const found = loaded[`${packageName}.${name}`];
    if (found === undefined) throw new Error(`the suite's protos have no ${name}`);
    return found;
  };
  const message = (name: string) => find(name) as MessageTypeDefinition<unknown, unknown>;
  return {
    definition: withBytes(find("ConformanceService") as ServiceDefinition),
    serverRequest: message("ServerCompatRequest"),
    serverResponse: message("ServerCompatResponse"),
    payload: message("ConformancePayload"),
  };
}

function withBytes(definition: ServiceDefinition): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [
      name,
      { ...method, requestDeserialize: received(method) },
    ]),
  );
}

function received({ path, requestDeserialize }: MethodDefinition<unknown, unknown>) {
  const method = path.slice(path.lastIndexOf("/") + 1);
  const type_url = `type.googleapis.com/${packageName}.${method}Request`;
  return (value: Buffer): Received<unknown> => {
    const { response_definition = null, full_duplex = false } = requestDeserialize(value) as {
      readonly response_definition?: unknown;
      readonly full_duplex?: boolean;
    };
    return { definition: response_definition, fullDuplex: full_duplex, echo: { type_url, value } };
  };
}

export interface HandlersOptions {
  readonly protos: ConformanceProtos;
  /** What a handler gives to its server to end a call so. */
  readonly failed: (failure: Failure) => Error;
}

/** The suite's own timeouts are shorter: a longer one is the server's, for a call that came without. */
const longestTimeoutMs = 30_000;

export function conformanceHandlers({ protos, failed }: HandlersOptions): UntypedServiceImplementation {
  const failure = (
    { code, message = "", details }: ErrorDefinition,
    trailers: Metadata,
    info?: RequestInfo,
  ): Error => {
    const more = info === undefined ? [] : [asAny(info)];
    return failed({ code, message, details: [...details, ...more], trailers });
  };

  const asAny = (info: RequestInfo): AnyMessage => ({
    type_url: `type.googleapis.com/${packageName}.ConformancePayload.RequestInfo`,
    value: onlyField(protos.payload.serialize({ request_info: info })),
  });

  async function answerOnce(
    call: UnaryCall | ClientStreamCall,
    callback: sendUnaryData<Response>,
    definition: UnaryResponseDefinition | null,
    requests: readonly AnyMessage[],
  ): Promise<void> {
    const request_info = requestInfo(call, requests);
    if (definition === null) {
      callback(null, { payload: { request_info } });
      return;
    }
    sendHeaders(call, definition);
    await pause(call, definition);
    if (call.cancelled) return;
    const trailers = metadata(definition.response_trailers);
    const { response_data: data, error } = definition;
    if (error) callback(failure(error, trailers, request_info));
    else
      callback(null, { payload: data === undefined ? { request_info } : { data, request_info } }, trailers);
  }

  /** What is left of a stream's answers, and how it ends. */
  async function finish(
    call: ServerStreamCall | BidiStreamCall,
    answers: Answers,
    requests: readonly AnyMessage[],
  ): Promise<void> {
    while (!answers.done) await answers.send(call, requests);
    if (call.cancelled) return;
    const { error, response_trailers } = answers.definition;
    const trailers = metadata(response_trailers);
    if (!error) call.end(trailers);
    else
      call.emit(
        "error",
        failure(error, trailers, answers.sent === 0 ? requestInfo(call, requests) : undefined),
      );
  }

  const unary = (call: UnaryCall, callback: sendUnaryData<Response>): void => {
    const { definition, echo } = call.request;
    void answerOnce(call, callback, definition, [echo]);
  };

  return {
    Unary: unary,
    IdempotentUnary: unary,

    Unimplemented: (_: UnaryCall, callback: sendUnaryData<Response>) => {
      callback(
        failed({
          code: status.UNIMPLEMENTED,
          message: "not implemented, as the suite asks",
          details: [],
          trailers: new Metadata(),
        }),
      );
    },

    ClientStream: (call: ClientStreamCall, callback: sendUnaryData<Response>) => {
      const requests: Received<UnaryResponseDefinition>[] = [];
      call.on("data", (request: Received<UnaryResponseDefinition>) => requests.push(request));
      call.on("end", () => {
        const echoes = requests.map(({ echo }) => echo);
        void answerOnce(call, callback, requests[0]?.definition ?? null, echoes);
      });
    },

    ServerStream: async (call: ServerStreamCall) => {
      const { definition, echo } = call.request;
      const answers = new Answers(definition);
      sendHeaders(call, answers.definition);
      await finish(call, answers, [echo]);
    },

    BidiStream: (call: BidiStreamCall) => {
      let answers = new Answers(null);
      let fullDuplex = false;
      let ended = false;
      /** Since the last answer. */
      let requests: AnyMessage[] = [];

      async function take(request: Received<StreamResponseDefinition>, isFirst: boolean): Promise<void> {
        if (ended) return;
        requests.push(request.echo);
        if (isFirst) {
          answers = new Answers(request.definition);
          fullDuplex = request.fullDuplex;
          if (fullDuplex) sendHeaders(call, answers.definition);
        }
        if (!fullDuplex) return;
        if (answers.done) {
          await end();
        } else {
          await answers.send(call, requests, { echoEach: true });
          requests = [];
        }
      }

      async function end(): Promise<void> {
        if (ended) return;
        ended = true;
        if (!fullDuplex) sendHeaders(call, answers.definition);
        await finish(call, answers, requests);
      }

      let isFirst = true;
      let work = Promise.resolve();
      call.on("data", (request: Received<StreamResponseDefinition>) => {
        const first = isFirst;
        isFirst = false;
        work = work.then(() => take(request, first));
      });
      call.on("end", () => {
        work = work.then(end);
      });
    },
  };
}

/** Of a message with one field, the bytes of that field: proto-loader does not give the types that are nested in others. */
function onlyField(message: Buffer): Buffer {
  let lastOfLength = 1;
  while ((message[lastOfLength] ?? 0) >= 0x80) lastOfLength += 1;
  return message.subarray(lastOfLength + 1);
}

const nothing: StreamResponseDefinition = {
  response_headers: [],
  response_trailers: [],
  response_delay_ms: 0,
  response_data: [],
  error: null,
};

/** The answers of one stream, in their order. */
class Answers {
  readonly definition: StreamResponseDefinition;
  sent = 0;

  constructor(definition: StreamResponseDefinition | null) {
    this.definition = definition ?? nothing;
  }

  get done(): boolean {
    return this.sent >= this.definition.response_data.length;
  }

  async send(
    call: ServerStreamCall | BidiStreamCall,
    requests: readonly AnyMessage[],
    { echoEach = false }: { readonly echoEach?: boolean } = {},
  ): Promise<void> {
    const data = this.definition.response_data[this.sent] ?? Buffer.alloc(0);
    const isFirst = this.sent === 0;
    this.sent += 1;
    await pause(call, this.definition);
    if (call.cancelled) return;
    const payload = isFirst
      ? { data, request_info: requestInfo(call, requests) }
      : echoEach
        ? { data, request_info: { requests } }
        : { data };
    if (!call.write({ payload })) await drained(call);
  }
}

function requestInfo(call: AnyCall, requests: readonly AnyMessage[]): RequestInfo {
  const request_headers = Object.entries(call.metadata.toJSON()).map(([name, values]) => ({
    name,
    value: values.map((value) => (typeof value === "string" ? value : unpadded(value))),
  }));
  const left = Number(call.getDeadline()) - Date.now();
  return left > longestTimeoutMs
    ? { request_headers, requests }
    : { request_headers, requests, timeout_ms: Math.max(0, left) };
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}

/** At once, so that the caller has them before it waits for an answer; but not where an error is all that there is. */
function sendHeaders(
  call: AnyCall,
  { response_headers, response_data }: UnaryResponseDefinition | StreamResponseDefinition,
): void {
  const isStream = Array.isArray(response_data);
  if (response_headers.length > 0 || (isStream && response_data.length > 0))
    call.sendMetadata(metadata(response_headers));
}

function metadata(headers: readonly Header[]): Metadata {
  const fields = new Metadata();
  for (const { name, value } of headers) {
    const isBinary = name.toLowerCase().endsWith("-bin");
    for (const each of value) fields.add(name, isBinary ? Buffer.from(each, "base64") : each);
  }
  return fields;
}

/** As long as the request asks for, or until its caller does not wait any more. */
function pause(call: NodeJS.EventEmitter, { response_delay_ms }: ResponseDefinition): Promise<void> {
  if (response_delay_ms === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, response_delay_ms);
    function done(): void {
      clearTimeout(timer);
      call.off("cancelled", done);
      resolve();
    }
    call.on("cancelled", done);
  });
}

function drained(call: NodeJS.EventEmitter): Promise<void> {
  const events = ["drain", "close", "cancelled", "error"];
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of events) call.off(event, done);
      resolve();
    };
    for (const event of events) call.on(event, done);
  });
}
