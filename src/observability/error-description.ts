// What a log line may say about an error: its type, message, stack, code and causes, and nothing it carries besides.
// Errors of HTTP clients and database drivers carry requests, headers and passwords as properties.
import { redactSecrets } from "./redaction.ts";

export interface ErrorDescription {
  /** The error's name; for a thrown value that is no object, its `typeof`. */
  type: string;
  message: string;
  stack?: string;
  /** `ECONNREFUSED`, a gRPC status, … */
  code?: string | number;
  /**
   * Of a database's error (its `code` is an SQLSTATE): which constraint of which table. Its `detail` is left out, because it
   * holds data: `Key (email)=(ada@example.com) already exists`.
   */
  constraint?: string;
  table?: string;
  cause?: ErrorDescription;
  /** The first errors of an `AggregateError`, as a connection that failed on several addresses throws it. */
  aggregateErrors?: ErrorDescription[];
}

export interface DescribeErrorOptions {
  /** `false` leaves out the stacks, which cost the most. Default: true. */
  readonly stack?: boolean;
}

/** ISO/IEC 9075-2 section 24.1: two characters of class, three of subclass. */
const sqlState = /^[0-9A-Z]{5}$/;
/** A name that a schema gave, plain and no longer than databases allow; anything else may be data. */
const schemaName = /^[A-Za-z_][\w$.-]{0,127}$/;

const maxNameLength = 128;
const maxMessageLength = 1_024;
const maxStackLength = 8_192;
const deepestCause = 5;
const maxAggregated = 3;

/**
 * Describes whatever was thrown as a plain object of bounded size: no own properties of the error beside those of
 * `ErrorDescription`, secrets in texts replaced (see `redactSecrets`). Never throws, whatever it is given: getters that
 * throw, circles of causes and revoked proxies included.
 */
export function describeError(error: unknown, options: DescribeErrorOptions = {}): ErrorDescription {
  return describe(error, options.stack ?? true, []);
}

function describe(error: unknown, withStack: boolean, outer: readonly object[]): ErrorDescription {
  // Without a prototype: pino's own error serializer takes the name of the constructor where there is one.
  const description: ErrorDescription = Object.assign(Object.create(null), {
    type: typeof error,
    message: "",
  });
  if ((typeof error !== "object" && typeof error !== "function") || error === null) {
    if (error === null) description.type = "null";
    description.message = redactSecrets(String(error), maxMessageLength);
    return description;
  }

  description.type = redactSecrets(typeName(error), maxNameLength);
  description.message = redactSecrets(
    text(error, "message") ?? text(error, "details") ?? "",
    maxMessageLength,
  );
  const code = read(error, "code");
  if (typeof code === "number") description.code = code;
  if (typeof code === "string") description.code = redactSecrets(code, maxNameLength);
  if (typeof code === "string" && sqlState.test(code)) {
    for (const key of ["constraint", "table"] as const) {
      const name = text(error, key);
      if (name !== undefined && schemaName.test(name)) description[key] = redactSecrets(name, maxNameLength);
    }
  }
  const stack = withStack ? text(error, "stack") : undefined;
  if (stack !== undefined) description.stack = redactSecrets(stack, maxStackLength);

  if (outer.length >= deepestCause) return description;
  const path = [...outer, error];
  const cause = read(error, "cause");
  if (cause !== undefined && cause !== null && !path.includes(Object(cause))) {
    description.cause = describe(cause, withStack, path);
  }
  const errors = read(error, "errors");
  if (outer.length === 0 && Array.isArray(errors)) {
    description.aggregateErrors = errors
      .slice(0, maxAggregated)
      .map((each) => describe(each, withStack, path));
  }
  return description;
}

function typeName(error: object): string {
  const maker = read(error, "constructor");
  return text(error, "name") ?? (typeof maker === "function" ? text(maker, "name") : undefined) ?? "object";
}

function text(target: object, key: string): string | undefined {
  const value = read(target, key);
  return typeof value === "string" && value !== "" ? value : undefined;
}

function read(target: object, key: string): unknown {
  try {
    return Reflect.get(target, key);
  } catch {
    return undefined;
  }
}
