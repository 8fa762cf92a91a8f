// `palisade policy`: check a policy against the services, show it, and tell what a new one changes.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { celWith } from "../cel/cel.ts";
import { ConfigError, PolicyError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { accessMatrix } from "../middleware/authorization/access-matrix.ts";
import type { CallerSchemes } from "../middleware/authorization/authorizer.ts";
import { comparePolicies } from "../middleware/authorization/compare-policies.ts";
import type { PolicyComparison } from "../middleware/authorization/policy-change.ts";
import { printable } from "../middleware/authorization/printable-table.ts";
import type { RbacAuthorizer } from "../middleware/authorization/rbac.ts";
import { rbacFile } from "../middleware/authorization/rbac-file.ts";
import { ArgumentError } from "./argument-error.ts";
import { disagreementsOf } from "./generated-code.ts";
import { methodsIn } from "./service-files.ts";
import { runSubcommand } from "./subcommands.ts";

const usage = `usage: palisade policy check <policy.json> services [--generated <file.js>]... [--scheme <name>]... [--actor-scheme <name>]...
       palisade policy matrix <policy.json> services [--format text|markdown|html|json] [--out <file>]
       palisade policy diff <before.json> <after.json> services [--before-proto <file>]... [--before-include <folder>]...
                            [--before-descriptor-set <file>] [--format text|markdown|json] [--out <file>]
                            [--fail-on gained|any]

  check   prints every problem: rules that match no method, methods without a rule, unknown roles. With --scheme and
          --actor-scheme also rules that need a scheme which no authenticator has. With --generated also generated code
          whose service definitions have other methods, or other kinds of them, than the .proto files. It is loaded.
  matrix  prints who may call which method.
  diff    prints what each role, every verified caller and callers without credentials gain and lose. Where the services
          changed too, the --before-… options give those of the policy before.

  <policy.json>      a file of rbacFile: { "roles": { … }, "rules": { … } }
  services           --proto <file>... [--include <folder>]..., or --descriptor-set <file>; those that are imported count.
                     With --service <pkg.Service>... only these.
  --metadata <name>  a name of metadata that conditions (when) read: one that celWith({ metadata }) has on the server. Several may
                     be given. A condition is an expression in CEL and is checked against the request of each method. Needs
                     the packages @bufbuild/cel and @bufbuild/protobuf where a policy has one.
  --format           how it is printed (text).
  --out              writes it to a file.
  --fail-on gained   exit code 3 where somebody gains something, or where nobody can tell.
  --fail-on any      exit code 3 where anything changed.

  Exit code: 0 done, 1 a problem in a file, 2 wrong arguments, 3 a change that --fail-on names.`;

const changedCode = 3;

const text = { type: "string" } as const;
const list = { type: "string", multiple: true } as const;
const serviceOptions = { proto: list, include: list, "descriptor-set": text, service: list, metadata: list };
const outputOptions = { format: { type: "string", default: "text" }, out: text } as const;

/** The exit code. */
export async function policyCommand(args: string[]): Promise<number> {
  try {
    return await runSubcommand(args, { name: "palisade policy", usage, commands: { check, matrix, diff } });
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof PolicyError)) throw error;
    for (const problem of error.problems) console.error(printable(problem));
    return 1;
  }
}

async function check(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { ...serviceOptions, generated: list, scheme: list, "actor-scheme": list },
  });
  const [path] = files(positionals, "check", 1);
  const methods = servicesOf(values);
  const disagreements = values.generated === undefined ? [] : disagreementsOf(values.generated, methods);
  for (const problem of disagreements) console.error(printable(problem));
  const callers: CallerSchemes = { schemes: values.scheme, actorSchemes: values["actor-scheme"] };
  const { warnings } = policyIn(path, values).compile(methods, callers);
  for (const warning of warnings) console.error(printable(`${path}: warning: ${warning}`));
  if (disagreements.length > 0) return 1;
  console.log(`${path}: no problem; methods: ${methods.length}`);
  return 0;
}

async function matrix(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { ...serviceOptions, ...outputOptions },
  });
  const [path] = files(positionals, "matrix", 1);
  const format = formatOf(values.format, ["text", "markdown", "html", "json"]);
  const methods = servicesOf(values);
  const read = accessMatrix(methods, policyIn(path, values).compile(methods));
  print(values.out, format === "html" ? read.toHtml() : rendered(read, format));
  return 0;
}

async function diff(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...serviceOptions,
      ...outputOptions,
      "before-proto": list,
      "before-include": list,
      "before-descriptor-set": text,
      "fail-on": text,
    },
  });
  const [before, after] = files(positionals, "diff", 2);
  const format = formatOf(values.format, ["text", "markdown", "json"]);
  const isFailure = failureOn(values["fail-on"]);
  const methods = servicesOf(values);
  const hasOwn = values["before-proto"] !== undefined || values["before-descriptor-set"] !== undefined;
  const valuesBefore = hasOwn
    ? {
        ...values,
        proto: values["before-proto"],
        include: values["before-include"],
        "descriptor-set": values["before-descriptor-set"],
      }
    : values;
  const comparison = comparePolicies(policyIn(before, valuesBefore), policyIn(after, values), {
    before: hasOwn ? servicesOf(valuesBefore) : methods,
    after: methods,
  });
  print(values.out, rendered(comparison, format));
  return isFailure(comparison) ? changedCode : 0;
}

interface ServiceOptions {
  readonly proto?: readonly string[] | undefined;
  readonly include?: readonly string[] | undefined;
  readonly "descriptor-set"?: string | undefined;
  readonly service?: readonly string[] | undefined;
  readonly metadata?: readonly string[] | undefined;
}

/** The types of requests are those of the services. What CEL needs is loaded where a condition stands in the file. */
function policyIn(
  path: string,
  { "descriptor-set": descriptorSet, metadata }: ServiceOptions,
): RbacAuthorizer {
  let cel: ReturnType<typeof celWith> | undefined;
  return rbacFile({
    path,
    condition: (expression) => {
      cel ??= celWith({ descriptorSet, metadata });
      return cel(expression);
    },
  });
}

function servicesOf(values: ServiceOptions): readonly MethodInfo[] {
  return methodsIn({
    protos: values.proto ?? [],
    includeDirs: values.include ?? [],
    descriptorSet: values["descriptor-set"],
    services: values.service,
  });
}

function files(positionals: readonly string[], command: string, count: 1): readonly [string];
function files(positionals: readonly string[], command: string, count: 2): readonly [string, string];
function files(positionals: readonly string[], command: string, count: 1 | 2): readonly string[] {
  if (positionals.length === count) return positionals;
  throw new ArgumentError(`${command}: give ${count === 1 ? "one policy file" : "two policy files"}`);
}

function formatOf<Format extends string>(given: string, known: readonly Format[]): Format {
  const format = known.find((one) => one === given);
  if (format !== undefined) return format;
  throw new ArgumentError(`--format ${given}: expected one of ${known.join(", ")}`);
}

function failureOn(given: string | undefined): (comparison: PolicyComparison) => boolean {
  switch (given) {
    case undefined:
      return () => false;
    case "any":
      return ({ isEmpty }) => !isEmpty;
    case "gained":
      return ({ counts }) => counts.gained + counts.changed > 0;
    default:
      throw new ArgumentError(`--fail-on ${given}: expected one of gained, any`);
  }
}

interface Readable {
  toText(): string;
  toMarkdown(): string;
}

function rendered(read: Readable, format: "text" | "markdown" | "json"): string {
  if (format === "json") return `${JSON.stringify(read, undefined, 2)}\n`;
  return format === "markdown" ? read.toMarkdown() : read.toText();
}

function print(out: string | undefined, content: string): void {
  if (out === undefined) {
    console.log(content.trimEnd());
    return;
  }
  try {
    writeFileSync(out, content);
  } catch (error) {
    throw new ConfigError(
      `${out}: cannot be written: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
