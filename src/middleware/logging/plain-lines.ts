/**
 * Lines as pino writes them, without its walk over an object and its keys: half of what a line costs. Only for a logger
 * that does with our fields what pino does by itself. One with redaction, serializers, formatters, a mixin, hooks or a
 * prefix gets its lines from pino, and so does one whose lines come out otherwise in any way.
 *
 * pino documents `pino.symbols` for integrations of this kind.
 */
import { channel } from "node:diagnostics_channel";
import { type Logger, symbols } from "pino";
import { plainText } from "../../observability/plain-text.ts";

/** The fields of one line in their order, `undefined` ones left out. */
type Fields = Readonly<Record<string, string | number | null>>;

/** Where a destination wants to be told of each line's level: pino's `multistream`, and transports. */
const needsMetadata = Symbol.for("pino.metadata");
const watched = channel("tracing:pino_asJson:start");
const message = "call ended";
const infoLevel = 30;

interface Stream {
  write(line: string): void;
}

export class PlainLines {
  readonly #logger: Logger;
  readonly #levelStart: string;
  readonly #tail: string;
  /** pino makes another function where the level changes; somebody may put one in its place. */
  readonly #info: unknown;

  /** Undefined where lines with these fields need pino. */
  static for(logger: Logger, sample: Fields): PlainLines | undefined {
    try {
      if (!isPlain(logger, Object.keys(sample))) return undefined;
      const lines = new PlainLines(logger);
      const time = lines.#time();
      const asJson: unknown = inside(logger, "asJsonSym");
      if (typeof asJson !== "function") return undefined;
      const wanted: unknown = asJson.call(logger, sample, message, infoLevel, time);
      const fields = Object.entries(sample).map(([name, value]) => field(name, value));
      return wanted === lines.#line(fields.join(""), time) ? lines : undefined;
    } catch {
      // Not a pino that we know.
      return undefined;
    }
  }

  private constructor(logger: Logger) {
    this.#logger = logger;
    this.#info = logger.info;
    this.#levelStart = String((inside(logger, "lsCacheSym") as Readonly<Record<number, unknown>>)[infoLevel]);
    this.#tail = `,${JSON.stringify(inside(logger, "messageKeySym"))}:"${message}"${String(inside(logger, "endSym"))}`;
  }

  /** Writes a line at `info` that says "call ended". False where it has to be pino's. */
  write(fields: string): boolean {
    const stream = inside(this.#logger, "streamSym") as Stream & { readonly [needsMetadata]?: unknown };
    if (this.#logger.info !== this.#info || stream[needsMetadata] === true || watched.hasSubscribers)
      return false;
    stream.write(this.#line(fields, this.#time()));
    return true;
  }

  #line(fields: string, time: string): string {
    return this.#levelStart + time + String(inside(this.#logger, "chindingsSym")) + fields + this.#tail;
  }

  #time(): string {
    return (this.#logger as unknown as { readonly [symbols.timeSym]: () => string })[symbols.timeSym]();
  }
}

function inside(logger: Logger, name: keyof typeof symbols): unknown {
  return (logger as unknown as Readonly<Record<symbol, unknown>>)[symbols[name]];
}

function isPlain(logger: Logger, keys: readonly string[]): boolean {
  const { logMethod, streamWrite } = inside(logger, "hooksSym") as Readonly<Record<string, unknown>>;
  const { log } = inside(logger, "formattersSym") as Readonly<Record<string, unknown>>;
  const serializers = inside(logger, "serializersSym") as object;
  const stringifiers = inside(logger, "stringifiersSym") as object;
  return (
    // The name of pino's own.
    logger.info.name === "LOG" &&
    logMethod === undefined &&
    streamWrite === undefined &&
    log === undefined &&
    inside(logger, "mixinSym") === undefined &&
    logger.msgPrefix === undefined &&
    Reflect.ownKeys(stringifiers).length === 0 &&
    [...keys, String(inside(logger, "messageKeySym"))].every((key) => !(key in serializers))
  );
}

/** `,"name":value`, as in the middle of an object; nothing where there is no value. */
export function field(name: string, value: string | number | null | undefined): string {
  if (value === undefined) return "";
  const json = typeof value === "string" && plainText.test(value) ? `"${value}"` : JSON.stringify(value);
  return `,"${name}":${json}`;
}
