// pino to a file, in pieces of 4 KiB, as its documentation has it. Larger ones cost more: sonic-boom measures all that waits at each line. Written at once: a write that another thread does costs more CPU time than it takes.
import { join } from "node:path";
import { type Logger, pino } from "pino";

export function fileLogger(directory: string): Logger {
  return pino(pino.destination({ dest: join(directory, "server.log"), minLength: 4096, sync: true }));
}
