// A command of several commands: `palisade api-key issue …`, `palisade policy check …`.
import { ArgumentError } from "./argument-error.ts";

export interface Subcommands {
  /** As it is typed: `palisade api-key`. */
  readonly name: string;
  readonly usage: string;
  /** Each answers with its exit code. */
  readonly commands: Readonly<Record<string, (args: string[]) => Promise<number>>>;
  /** The command where the first argument is an option. Default: there is none. */
  readonly ofOptions?: string;
}

/** The exit code: 2 for arguments that are wrong. What a library throws goes to the caller. */
export async function runSubcommand(args: string[], subcommands: Subcommands): Promise<number> {
  const { name, usage, commands, ofOptions } = subcommands;
  if (args.includes("--help") || args.length === 0) {
    (args.length === 0 ? console.error : console.log)(usage);
    return args.length === 0 ? 2 : 0;
  }
  const [first = "", ...rest] = args;
  const [chosen, own] = ofOptions !== undefined && first.startsWith("-") ? [ofOptions, args] : [first, rest];
  const command = Object.hasOwn(commands, chosen) ? commands[chosen] : undefined;
  if (command === undefined) {
    console.error(`${name}: unknown command ${JSON.stringify(chosen)}\n${usage}`);
    return 2;
  }
  try {
    return await command(own);
  } catch (error) {
    if (!isWrongArgument(error)) throw error;
    console.error(`${name}: ${error.message}`);
    return 2;
  }
}

/** Of our own, or of Node's parser of arguments. */
function isWrongArgument(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  return error instanceof ArgumentError || ("code" in error && /^ERR_PARSE_ARGS/.test(String(error.code)));
}
