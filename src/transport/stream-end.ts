// How a stream ends: by whom it was reset, and how it is closed behind a status.
import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";

/** Was a stream that is over reset by its caller, and not lost with its connection? */
export function resetByCaller({ rstCode }: ServerHttp2Stream, session: Http2Session | undefined): boolean {
  if (rstCode !== constants.NGHTTP2_CANCEL && rstCode !== constants.NGHTTP2_NO_ERROR) return false;
  return session !== undefined && !session.destroyed && !session.closed;
}

export function isOver(stream: ServerHttp2Stream): boolean {
  return stream.closed || stream.destroyed;
}

/** Resets the stream: nobody reads what it still holds. */
export function cut(stream: ServerHttp2Stream): void {
  if (!isOver(stream)) stream.close(constants.NGHTTP2_CANCEL);
  else dropForgotten(stream);
}

/**
 * For a stream's "aborted" and "end". Where its caller reset it with NO_ERROR, Node waits for what was written to leave, which
 * it never does: the stream, its call and its buffers would stay as long as the connection.
 */
export function dropAfterReset(stream: ServerHttp2Stream): void {
  if (stream.closed && stream.rstCode === constants.NGHTTP2_NO_ERROR) setImmediate(dropForgotten, stream);
}

/** A stream that nghttp2 does not know any more needs no RST_STREAM, and has no data that could leave. */
function dropForgotten(stream: ServerHttp2Stream): void {
  if (!stream.destroyed && stream.state.state === constants.NGHTTP2_STREAM_STATE_IDLE) stream.destroy();
}

const shortestRetryMs = 1;
const maxRetryMs = 1000;

/**
 * Closes the stream without an error once its status has left, so that a caller who never half-closes frees it
 * (RFC 9113 section 8.1).
 */
export function release(stream: ServerHttp2Stream): void {
  setImmediate(releaseWhenSent, stream, shortestRetryMs);
}

/**
 * nghttp2 drops whatever of a stream is still queued when RST_STREAM is, and with a socket that is full the status may be.
 * `state.localClose` turns 1 when END_STREAM was sent.
 */
function releaseWhenSent(stream: ServerHttp2Stream, retryMs: number): void {
  if (isOver(stream)) return;
  const { localClose, remoteClose } = stream.state;
  // The caller did half-close; it was only not read yet. The stream ends by itself.
  if (remoteClose === 1) return;
  // protection: refused-streams
  if (localClose === 1) stream.close(constants.NGHTTP2_NO_ERROR);
  else setTimeout(releaseWhenSent, retryMs, stream, Math.min(2 * retryMs, maxRetryMs)).unref();
}
