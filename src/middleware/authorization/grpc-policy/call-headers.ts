// The values of a call's headers as grpc-go's matchers see them: the fields of one name joined by commas, binary ones decoded.
import { Buffer } from "node:buffer";
import { type CallContext, rawFieldsOf } from "../../../chain/context.ts";

/** A text of a policy, to be compared with header values: one byte of its UTF-8 a character, as header values have. */
export function asHeaderBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** The transport keeps them to itself; a policy may speak of them. */
const ofTheTransport: ReadonlySet<string> = new Set(["accept-encoding", "content-type"]);

/** Of one call, each name looked up once. */
export class CallHeaders {
  readonly #call: CallContext;
  readonly #known = new Map<string, string | undefined>();

  constructor(call: CallContext) {
    this.#call = call;
  }

  /** Undefined where the call has no such header. `name`: in lower case. */
  get(name: string): string | undefined {
    const known = this.#known.get(name);
    if (known !== undefined || this.#known.has(name)) return known;
    const value = this.#read(name);
    this.#known.set(name, value);
    return value;
  }

  #read(name: string): string | undefined {
    const values = this.#call.metadata.get(name);
    // What a middleware removed because nobody verified it is not there.
    if (values.length === 0 && !ofTheTransport.has(name)) return undefined;
    const fields = rawFieldsOf(this.#call);
    if (name.endsWith("-bin") || fields === undefined)
      return values.length === 0 ? undefined : values.map(bytesOf).join(",");
    // As they came: Node puts a blank behind the comma, and drops the second field of some names.
    return joinedFields(fields, name);
  }
}

function bytesOf(value: string | Buffer): string {
  return typeof value === "string" ? value : value.toString("latin1");
}

function joinedFields(fields: readonly string[], name: string): string | undefined {
  let joined: string | undefined;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] !== name) continue;
    const value = fields[i + 1] ?? "";
    joined = joined === undefined ? value : `${joined},${value}`;
  }
  return joined;
}
