// The `logger` option, checked alike wherever one is handed in.
import type { Logger } from "pino";
import { z } from "zod";

/** Accepts a pino logger: what it must have is what we call. */
export const loggerSchema: z.ZodType<Logger> = z.custom<Logger>(isPinoLogger, {
  error: "must be a pino logger, such as pino()",
});

function isPinoLogger(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return ["info", "warn", "error", "child", "isLevelEnabled"].every(
    (name) => typeof Reflect.get(value, name) === "function",
  );
}
