// pino as its documentation advises for services under load: to a file, in batches, not in the call's way.
import { join } from "node:path";
import { type Logger, pino } from "pino";

export function fileLogger(directory: string): Logger {
  return pino(pino.destination({ dest: join(directory, "server.log"), sync: false, minLength: 4096 }));
}
