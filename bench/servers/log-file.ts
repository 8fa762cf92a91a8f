// pino to a file, in pieces of 12 KiB. Written at once: a write that another thread does costs more CPU time than it takes.
import { join } from "node:path";
import { type Logger, pino } from "pino";

export function fileLogger(directory: string): Logger {
  return pino(pino.destination({ dest: join(directory, "server.log"), minLength: 12_288, sync: true }));
}
