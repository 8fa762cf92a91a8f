// Requests that are no gRPC calls, answered as the gRPC-over-HTTP/2 document says ("Request-Headers", "Responses").
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";

/** Why a request is no gRPC call, and what it is answered. */
export interface NotGrpc {
  readonly httpStatus: number;
  /** For the log. One of a few: callers do not choose it. */
  readonly detail: string;
}

const notPost: NotGrpc = { httpStatus: constants.HTTP_STATUS_METHOD_NOT_ALLOWED, detail: "not a POST" };
const otherType: NotGrpc = {
  httpStatus: constants.HTTP_STATUS_UNSUPPORTED_MEDIA_TYPE,
  detail: "not application/grpc",
};
const grpcWeb: NotGrpc = {
  httpStatus: constants.HTTP_STATUS_UNSUPPORTED_MEDIA_TYPE,
  detail:
    "gRPC-Web, which this server does not speak: put a proxy in front that translates it, such as Envoy with its grpc_web filter",
};

/**
 * gRPC over HTTP/2: `application/grpc`, then nothing or a subtype behind a `+`; `;` begins parameters (RFC 9110 section
 * 8.3.1). In lower case alone, as grpc-go has it: no client sends another.
 */
const grpcType = /^application\/grpc(?:$|[+;])/;

/** Undefined where the request is a gRPC call. */
export function notGrpc(headers: IncomingHttpHeaders): NotGrpc | undefined {
  if (headers[":method"] !== "POST") return notPost;
  const type = headers["content-type"] ?? "";
  if (/* protection: content-type */ grpcType.test(type)) return undefined;
  return type.startsWith("application/grpc-web") ? grpcWeb : otherType;
}

/** Answers, and closes the stream behind the answer, though the caller may go on sending. */
export function answerNotGrpc(stream: ServerHttp2Stream, { httpStatus }: NotGrpc): void {
  stream.on("error", ignore);
  // `respond` throws then.
  if (stream.destroyed || stream.closed) return;
  freeOnceAnswered(stream);
  const headers = { [constants.HTTP2_HEADER_STATUS]: httpStatus };
  // RFC 9110 section 15.5.6.
  stream.respond(httpStatus === notPost.httpStatus ? { ...headers, allow: "POST" } : headers, {
    endStream: true,
  });
}

/**
 * HTTP/2 does so by itself once the client has acknowledged our SETTINGS_MAX_HEADER_LIST_SIZE: the stream is reset with
 * ENHANCE_YOUR_CALM, and the connection lives on. A client that never acknowledges it is answered the same.
 */
export function cutOffHeaders(stream: ServerHttp2Stream): void {
  stream.on("error", ignore);
  stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

/** Every error of a stream is followed by its "close". */
function ignore(): void {}

/** Node ends what answers a HEAD before anybody hears of the request. */
function freeOnceAnswered(stream: ServerHttp2Stream): void {
  // "finish" may come before the headers of the answer are on their way.
  const free = (): void => void setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
  if (stream.writableFinished) free();
  else stream.once("finish", free);
}
