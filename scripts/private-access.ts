/**
 * What grpc-js, Node and other packages keep to themselves is used in one folder alone, `src/transport/`. Everywhere else in
 * `src/` this reports it with file and line, as a part of `npm run lint`:
 *
 * - A member whose name begins with `_`, in any syntax: `x._y`, `x["_y"]`, `{ _y: z } = x`, a class member or an override,
 *   `X["_y"]` as a type, a string `"_y"` as in `Reflect.get(x, "_y")`. grpc-js and Node name what they do not document
 *   that way (`_parent`, `_retrieveHandler`). Our own private members are `#y`, so none of ours is reported.
 * - `removeAllListeners`, which takes away the listeners that Node and grpc-js rely on.
 * - A member that a package's type declares `private` or `protected`, or does not declare: through `x["y"]`, `Reflect`, a
 *   cast, a type predicate, or a type that adds it as an optional member.
 * - `Object.getOwnPropertySymbols`, which finds symbols that nobody exports.
 * - Modules inside of grpc-js.
 *
 * Casts are judged by their types and not by their spelling. `x as unknown as T` is also how an untyped handler gets the
 * type of its kind, while `x as T` is enough to read a private field behind an interface. A cast is reported where the
 * value's type comes from a package and the new type has a named member that is not a public one of the value's type.
 * Not reported are:
 *
 * - members that a package itself declares: from `EventEmitter` to `Writable` everything is documented;
 * - members of our own classes: what is an instance of one was made by us;
 * - members that are named by a symbol: it is our own, or its package exports it, as `pino.symbols`;
 * - values of TypeScript's own library: an `Error` may carry anything.
 *
 * Of a value that is typed `object` or `unknown` nobody knows where it comes from. There only the names with `_` are seen.
 */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** Where it is allowed. */
const home = "src/transport/";

/**
 * Files, and folders with a `/` at the end, that are not there yet. An entry that is not needed any more is an error, so
 * this list can only become shorter.
 */
const stillAllowed: readonly string[] = [];

export interface Finding {
  readonly file: string;
  readonly line: number;
  /** What is used. */
  readonly what: string;
  readonly advice: string;
}

const advice = {
  underscore: `is not documented: use a public member, or move this into ${home}; name your own with #`,
  hidden: `is not public: use what the type declares, or move this into ${home}`,
  listeners: `takes away listeners of Node and grpc-js: take away your own with off(), or move this into ${home}`,
  symbols: `finds symbols that nobody exports: use a public member, or move this into ${home}`,
  module: "is inside of grpc-js: import what @grpc/grpc-js exports",
} as const;

/** Not `_OTHER`, which OpenTelemetry defines, and not `__proto__`, which the language does. */
const underscored = /^_[a-z]\w*$/;

/** Functions of `Reflect` and `Object` whose second argument names a member. */
const reflecting: ReadonlySet<string> = new Set(["get", "set", "defineProperty", "getOwnPropertyDescriptor"]);

/**
 * @param root the folder with tsconfig.json and node_modules
 * @param sources texts by their path from `root`; what else they import is read from there
 */
export function privateAccess(root: string, sources: ReadonlyMap<string, string>): readonly Finding[] {
  const program = programOf(root, sources);
  return [...sources.keys()].flatMap((file) => {
    const source = program.getSourceFile(join(root, file));
    if (source === undefined) throw new Error(`${file}: TypeScript does not read it`);
    return new SourceReading(file, source, program.getTypeChecker()).findings();
  });
}

function programOf(root: string, sources: ReadonlyMap<string, string>): ts.Program {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile) as { config: object };
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  const texts = new Map([...sources].map(([file, text]) => [join(root, file), text]));
  const host = ts.createCompilerHost(options, true);
  const { fileExists, readFile } = ts.sys;
  host.fileExists = (path) => texts.has(path) || fileExists(path);
  host.readFile = (path) => texts.get(path) ?? readFile(path);
  return ts.createProgram([...texts.keys()], options, host);
}

class SourceReading {
  readonly #file: string;
  readonly #source: ts.SourceFile;
  readonly #checker: ts.TypeChecker;
  readonly #found: Map<string, Finding> = new Map();

  constructor(file: string, source: ts.SourceFile, checker: ts.TypeChecker) {
    this.#file = file;
    this.#source = source;
    this.#checker = checker;
  }

  findings(): readonly Finding[] {
    this.#visit(this.#source);
    return [...this.#found.values()];
  }

  #visit(node: ts.Node): void {
    if (ts.isIdentifier(node) && isMemberName(node)) this.#readName(node);
    else if (ts.isStringLiteralLike(node)) this.#readText(node);
    else if (ts.isElementAccessExpression(node)) this.#readElement(node);
    else if (ts.isCallExpression(node)) this.#readCall(node);
    else if (ts.isAssertionExpression(node)) this.#readCast(node);
    else if (ts.isTypePredicateNode(node)) this.#readPredicate(node);
    else if (ts.isIntersectionTypeNode(node) || ts.isInterfaceDeclaration(node)) this.#readWidened(node);
    ts.forEachChild(node, (child) => this.#visit(child));
  }

  #report(node: ts.Node, what: string, advice: string): void {
    const line = this.#source.getLineAndCharacterOfPosition(node.getStart(this.#source)).line + 1;
    this.#found.set(`${line} ${what}`, { file: this.#file, line, what, advice });
  }

  #readName(name: ts.Identifier): void {
    if (name.text === "removeAllListeners") this.#report(name, name.text, advice.listeners);
    else if (underscored.test(name.text)) this.#report(name, name.text, advice.underscore);
  }

  #readText(literal: ts.StringLiteralLike): void {
    if (literal.text === "removeAllListeners") this.#report(literal, literal.text, advice.listeners);
    else if (underscored.test(literal.text)) this.#report(literal, literal.text, advice.underscore);
    else if (literal.text.startsWith("@grpc/grpc-js/build/"))
      this.#report(literal, literal.text, advice.module);
  }

  #readElement({ expression, argumentExpression: name }: ts.ElementAccessExpression): void {
    if (ts.isStringLiteralLike(name)) this.#readMember(name, expression);
  }

  #readCall({ expression: called, arguments: [on, name] }: ts.CallExpression): void {
    if (!ts.isPropertyAccessExpression(called) || !/^(?:Reflect|Object)$/.test(called.expression.getText()))
      return;
    const { text } = called.name;
    if (text === "getOwnPropertySymbols") this.#report(called, text, advice.symbols);
    if (on === undefined || name === undefined || !ts.isStringLiteralLike(name)) return;
    if (reflecting.has(text)) this.#readMember(name, on);
  }

  #readMember(name: ts.StringLiteralLike, on: ts.Expression): void {
    const type = this.#checker.getTypeAtLocation(on);
    const owner = this.#packageType(type);
    if (owner === undefined || type.getStringIndexType() !== undefined) return;
    if (!this.#isPublic(type, name.text)) this.#report(name, `${owner}.${name.text}`, advice.hidden);
  }

  #readCast(cast: ts.AssertionExpression): void {
    let outer: ts.Node = cast.parent;
    while (ts.isParenthesizedExpression(outer)) outer = outer.parent;
    // A cast by way of `unknown` is read as one.
    if (ts.isAssertionExpression(outer)) return;
    let value: ts.Expression = cast.expression;
    while (ts.isAssertionExpression(value) || ts.isParenthesizedExpression(value)) value = value.expression;
    const from = this.#checker.getTypeAtLocation(value);
    this.#compare(cast, from, this.#checker.getTypeFromTypeNode(cast.type));
  }

  #readPredicate(predicate: ts.TypePredicateNode): void {
    const { parameterName, type, parent } = predicate;
    const of = ts.isFunctionLike(parent)
      ? parent.parameters.find(({ name }) => name.getText() === parameterName.getText())
      : undefined;
    if (type === undefined || of === undefined) return;
    this.#compare(predicate, this.#checker.getTypeAtLocation(of), this.#checker.getTypeFromTypeNode(type));
  }

  /** A value becomes of such a type without a cast. */
  #readWidened(node: ts.IntersectionTypeNode | ts.InterfaceDeclaration): void {
    const parts = ts.isInterfaceDeclaration(node)
      ? (node.heritageClauses ?? []).flatMap(({ types }) => types)
      : node.types;
    const to = this.#checker.getTypeAtLocation(node);
    for (const part of parts)
      this.#compare(node, this.#checker.getTypeAtLocation(part), to, ({ flags }) => isOptional(flags));
  }

  /** Reports which members that are not public `from` gets by becoming `to`. */
  #compare(
    node: ts.Node,
    from: ts.Type,
    to: ts.Type,
    counts: (member: ts.Symbol) => boolean = () => true,
  ): void {
    const owner = this.#packageType(from);
    if (owner === undefined || to.aliasSymbol?.declarations?.some(isInPackage)) return;
    const opened = this.#checker
      .getPropertiesOfType(to)
      .filter(
        (member) =>
          counts(member) && isDeclaredByUs(member) && !isSymbol(member) && !this.#isPublic(from, member.name),
      )
      .map(({ name }) => name);
    if (to.getStringIndexType() !== undefined && from.getStringIndexType() === undefined)
      opened.push("(any member)");
    if (opened.length > 0) this.#report(node, `${owner}.${opened.join(", ")}`, advice.hidden);
  }

  #isPublic(type: ts.Type, name: string): boolean {
    const member = this.#checker.getPropertyOfType(type, name);
    const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
    return (
      member !== undefined &&
      !member.declarations?.some((each) => (ts.getCombinedModifierFlags(each) & hidden) !== 0)
    );
  }

  /** The name of the package's type that this is, or is made of. Undefined where it has none. */
  #packageType(type: ts.Type): string | undefined {
    const known = this.#checker.getBaseConstraintOfType(type) ?? type;
    const symbol = known.aliasSymbol ?? known.getSymbol();
    if (symbol?.declarations?.some(isInPackage)) return symbol.name;
    const parts = known.isUnionOrIntersection() ? known.types : (known.getBaseTypes() ?? []);
    for (const part of parts) {
      const name = this.#packageType(part);
      if (name !== undefined) return name;
    }
    return undefined;
  }
}

function isMemberName(name: ts.Identifier): boolean {
  const { parent } = name;
  if (ts.isPropertyAccessExpression(parent) || ts.isShorthandPropertyAssignment(parent))
    return parent.name === name;
  if (ts.isBindingElement(parent))
    return (
      (parent.propertyName ?? parent.name) === name &&
      ts.isObjectBindingPattern(parent.parent) &&
      parent.dotDotDotToken === undefined
    );
  return (
    (ts.isClassElement(parent) || ts.isTypeElement(parent) || ts.isObjectLiteralElement(parent)) &&
    parent.name === name
  );
}

function isOptional(flags: ts.SymbolFlags): boolean {
  return (flags & ts.SymbolFlags.Optional) !== 0;
}

function isSymbol({ escapedName }: ts.Symbol): boolean {
  return escapedName.toString().startsWith("__@");
}

/** By a type of ours that is no class, or by none, as the members of a `Record` are. */
function isDeclaredByUs({ declarations = [] }: ts.Symbol): boolean {
  return !declarations.some((each) => isForeign(each) || ts.isClassLike(each.parent));
}

function isForeign(node: ts.Node): boolean {
  return node.getSourceFile().fileName.includes("/node_modules/");
}

function isInPackage(node: ts.Node): boolean {
  return isForeign(node) && !node.getSourceFile().fileName.includes("/node_modules/typescript/");
}

/** One line for each finding where it is not allowed, and for each entry of the list that is not needed. */
export function problemsOf(findings: readonly Finding[], allowed: readonly string[]): readonly string[] {
  const isIn = (file: string, place: string): boolean =>
    place.endsWith("/") ? file.startsWith(place) : file === place;
  const out = findings.filter(({ file }) => ![home, ...allowed].some((place) => isIn(file, place)));
  const done = allowed.filter((place) => !findings.some(({ file }) => isIn(file, place)));
  return [
    ...out.map(({ file, line, what, advice }) => `${file}:${line} ${what} ${advice}`),
    ...done.map((place) => `${place} does nothing any more that has to be allowed: take it out of the list`),
  ];
}

function readSources(root: string): ReadonlyMap<string, string> {
  const paths = ts.sys.readDirectory(join(root, "src"), [".ts"], [], ["**/*"]).sort();
  return new Map(paths.map((path) => [relative(root, path), readFileSync(path, "utf8")]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const problems = problemsOf(privateAccess(root, readSources(root)), stillAllowed);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
