// Streams and emitters, past what their types let one do.
import { EventEmitter } from "node:events";
import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { BaseCall } from "./inside.ts";

/**
 * Node's switch for catching rejections of async listeners. Public API sets it only in a constructor's options, and
 * grpc-js constructs the call objects; the symbol is found on an emitter made with the option.
 */
const captureSwitch = Object.getOwnPropertySymbols(new EventEmitter({ captureRejections: true })).find(
  (symbol) => symbol.description === "kCapture",
);

/** Makes an emitter report rejections of its async listeners to `onRejection`. False where this Node has no such switch. */
export function captureRejections(
  emitter: EventEmitter,
  onRejection: (error: unknown, event: string) => void,
): boolean {
  if (captureSwitch === undefined) return false;
  const open = emitter as unknown as Record<symbol, unknown>;
  // protection: listener-rejections
  open[captureSwitch] = true;
  open[EventEmitter.captureRejectionSymbol] = onRejection;
  return true;
}

/** Was the stream ended by the caller (RST_STREAM) or by the loss of its connection? */
export function endedByCaller(stream: ServerHttp2Stream, session: Http2Session | undefined): boolean {
  if (stream.rstCode !== constants.NGHTTP2_CANCEL && stream.rstCode !== constants.NGHTTP2_NO_ERROR)
    return false;
  return session !== undefined && !session.destroyed && !session.closed;
}

/**
 * Closes the stream without an error once its status has left, so that a caller who never half-closes frees it
 * (RFC 9113 section 8.1). Not before: nghttp2 drops whatever of a stream is still queued when RST_STREAM is, and with a
 * socket that is full the status may be. `state.localClose` turns 1 when END_STREAM was sent.
 */
export function releaseStream(base: BaseCall): void {
  if (!base.receivedHalfClose) setImmediate(releaseWhenSent, base.stream, shortestRetryMs);
}

const shortestRetryMs = 1;
const longestRetryMs = 1000;

function releaseWhenSent(stream: ServerHttp2Stream, retryMs: number): void {
  if (stream.closed || stream.destroyed) return;
  const { localClose, remoteClose } = stream.state;
  // The caller did half-close; it was only not read yet. The stream ends by itself.
  if (remoteClose === 1) return;
  // protection: refused-streams
  if (localClose === 1) stream.close(constants.NGHTTP2_NO_ERROR);
  else setTimeout(releaseWhenSent, retryMs, stream, Math.min(2 * retryMs, longestRetryMs)).unref();
}

/** Cuts the stream: nobody is reading what it still holds. */
export function cutStream(stream: ServerHttp2Stream): void {
  if (!stream.closed && !stream.destroyed) stream.close(constants.NGHTTP2_CANCEL);
}
