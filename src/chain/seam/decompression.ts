// How one compressed message is decompressed. grpc-js before 1.14.4 does not listen for errors of its own decompressor, so
// that one message which says it is compressed, and is not, would end the process.
import type { Buffer } from "node:buffer";
import zlib from "node:zlib";
import { status } from "@grpc/grpc-js";
import type { BaseCall } from "./inside.ts";
import { framingBytes } from "./whole-message.ts";

/** Is it an encoding that is decompressed here? */
export function isCompression(encoding: string): encoding is "gzip" | "deflate" {
  return encoding === "gzip" || encoding === "deflate";
}

/**
 * Takes the place of the base call's `decompressMessage` for its compressed messages. It rejects as the base call's does,
 * with the status that the call ends with.
 */
export function decompressHere(base: BaseCall): void {
  base.decompressMessage = decompress;
}

function decompress(this: BaseCall, message: Buffer, encoding: string): Buffer | Promise<Buffer> {
  if (!isCompression(encoding)) {
    const prototype = Object.getPrototypeOf(this) as BaseCall;
    return prototype.decompressMessage.call(this, message, encoding);
  }
  const limit = this.maxReceiveMessageSize;
  const options = limit === -1 ? {} : { maxOutputLength: Math.max(limit, 1) };
  return new Promise((resolve, reject) => {
    zlib[encoding === "gzip" ? "gunzip" : "inflate"](
      message.subarray(framingBytes),
      options,
      (error, contents) => {
        if (error === null) resolve(contents);
        else if ("code" in error && error.code === "ERR_BUFFER_TOO_LARGE")
          reject({
            code: status.RESOURCE_EXHAUSTED,
            details: `Received message that decompresses to a size larger than ${limit}`,
          });
        else reject({ code: status.INTERNAL, details: "Failed to decompress message" });
      },
    );
  });
}
