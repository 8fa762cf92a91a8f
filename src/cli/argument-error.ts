/** The arguments of a command are wrong: exit code 2. */
export class ArgumentError extends Error {}
