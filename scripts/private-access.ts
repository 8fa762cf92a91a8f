/**
 * What grpc-js, Node and other packages keep to themselves is used in one folder alone, `src/transport/`. Everywhere else in
 * `src/` this reports it with file and line, as a part of `npm run lint`:
 *
 * - A member whose name begins with `_`, in any syntax: `x._y`, `x["_y"]`, `{ _y: z } = x`, a class member or an override,
 *   `X["_y"]` as a type, a string `"_y"` as in `Reflect.get(x, "_y")`. grpc-js and Node name what they do not document
 *   that way (`_parent`, `_retrieveHandler`). Our own private members are `#y`, so none of ours is reported.
 * - `removeAllListeners`, which takes away the listeners that Node and grpc-js rely on.
 * - A member that a package's type declares `private` or `protected`, or does not declare: through `x.y`, `x["y"]`,
 *   `"y" in x`, functions of `Reflect` and `Object`, a cast, a type predicate, or a type that adds it as an optional member.
 *   A name may be a constant, or a sum of constants.
 * - `constructor` and `getPrototypeOf` of a package's object, behind which nothing has a type.
 * - `Object.getOwnPropertySymbols`, which finds symbols that nobody exports.
 * - Modules inside of grpc-js.
 * - `@ts-expect-error`, `@ts-ignore` and `@ts-nocheck`, in `src/transport/` too: TypeScript itself refuses most of the above.
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
 * Of a value that is typed `object`, `unknown` or `any` nobody knows where it comes from. There only the names with `_` are
 * seen. Not seen either are names that are put together while the program runs, members that are reached by listing or
 * copying all of them (`Object.entries(x)`, `{ ...x }`), and code that is a text (`eval`, `node:vm`).
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
  prototype: `leads to what has no type: use a public member, or move this into ${home}`,
  silenced: "hides what TypeScript refuses: write what it accepts",
} as const;

/** Not `_OTHER`, which OpenTelemetry defines, and not `__proto__`, which the language does. */
const underscored = /^_[a-z]\w*$/;

/** Functions of `Reflect` and `Object` whose second argument names a member. */
const naming: ReadonlySet<string> = new Set([
  "get",
  "set",
  "has",
  "hasOwn",
  "deleteProperty",
  "defineProperty",
  "getOwnPropertyDescriptor",
]);

/** Functions of `Object` that give an object all members of others. */
const giving: ReadonlySet<string> = new Set(["assign", "defineProperties"]);

const silencing = /@ts-(?:expect-error|ignore|nocheck)\b/g;

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
    this.#readComments();
    this.#visit(this.#source);
    return [...this.#found.values()];
  }

  #visit(node: ts.Node): void {
    if (ts.isIdentifier(node) && isMemberName(node)) this.#readName(node);
    else if (ts.isStringLiteralLike(node)) this.#readText(node, node.text);
    else if (ts.isPropertyAccessExpression(node)) this.#readAccess(node);
    else if (ts.isBinaryExpression(node)) this.#readBinary(node);
    else if (ts.isElementAccessExpression(node)) this.#readElement(node);
    else if (ts.isCallExpression(node)) this.#readCall(node);
    else if (ts.isAssertionExpression(node)) this.#readCast(node);
    else if (ts.isTypePredicateNode(node)) this.#readPredicate(node);
    else if (ts.isIntersectionTypeNode(node) || ts.isInterfaceDeclaration(node)) this.#readWidened(node);
    ts.forEachChild(node, (child) => this.#visit(child));
  }

  #report(node: ts.Node, what: string, advice: string): void {
    this.#reportAt(node.getStart(this.#source), what, advice);
  }

  #reportAt(position: number, what: string, advice: string): void {
    const line = this.#source.getLineAndCharacterOfPosition(position).line + 1;
    this.#found.set(`${line} ${what}`, { file: this.#file, line, what, advice });
  }

  #readName(name: ts.Identifier): void {
    if (name.text === "removeAllListeners") this.#report(name, name.text, advice.listeners);
    else if (underscored.test(name.text)) this.#report(name, name.text, advice.underscore);
  }

  #readComments(): void {
    for (const { 0: what, index } of this.#source.text.matchAll(silencing))
      this.#reportAt(index, what, advice.silenced);
  }

  #readText(node: ts.Node, text: string): void {
    if (text === "removeAllListeners") this.#report(node, text, advice.listeners);
    else if (underscored.test(text)) this.#report(node, text, advice.underscore);
    else if (text.startsWith("@grpc/grpc-js/build/")) this.#report(node, text, advice.module);
  }

  #readBinary(node: ts.BinaryExpression): void {
    const { kind } = node.operatorToken;
    if (kind === ts.SyntaxKind.InKeyword) this.#readMembers(node.left, node.right);
    // Of `a + b + c` the whole.
    if (kind !== ts.SyntaxKind.PlusToken || ts.isBinaryExpression(node.parent)) return;
    for (const text of this.#textsOf(node)) this.#readText(node, text);
  }

  #readElement({ expression, argumentExpression: name }: ts.ElementAccessExpression): void {
    this.#readMembers(name, expression);
  }

  #readAccess({ expression: on, name }: ts.PropertyAccessExpression): void {
    const type = this.#checker.getNonNullableType(this.#checker.getTypeAtLocation(on));
    const owner = this.#packageType(type);
    if (owner === undefined || underscored.test(name.text)) return;
    if (name.text === "constructor") this.#report(name, `${owner}.constructor`, advice.prototype);
    // What a subclass may use TypeScript knows.
    if (on.kind === ts.SyntaxKind.ThisKeyword || on.kind === ts.SyntaxKind.SuperKeyword) return;
    const member = this.#checker.getSymbolAtLocation(name);
    const hidden = member === undefined ? type.getStringIndexType() === undefined : isHidden(member);
    if (hidden) this.#report(name, `${owner}.${name.text}`, advice.hidden);
  }

  #readCall(call: ts.CallExpression): void {
    const {
      expression: called,
      arguments: [on, ...rest],
    } = call;
    if (!ts.isPropertyAccessExpression(called) || !/^(?:Reflect|Object)$/.test(called.expression.getText()))
      return;
    const { text } = called.name;
    if (text === "getOwnPropertySymbols") this.#report(called, text, advice.symbols);
    if (on === undefined) return;
    const [name] = rest;
    if (naming.has(text) && name !== undefined) this.#readMembers(name, on);
    const type = this.#checker.getTypeAtLocation(on);
    if (giving.has(text))
      for (const given of rest) this.#compare(given, type, this.#checker.getTypeAtLocation(given));
    const owner = text === "getPrototypeOf" ? this.#packageType(type) : undefined;
    // Where a cast says at once what it is, what is used of it is read as of that.
    const typed =
      ts.isAssertionExpression(call.parent) &&
      this.#packageType(this.#checker.getTypeAtLocation(call.parent)) !== undefined;
    if (owner !== undefined && !typed) this.#report(called, `${text}(${owner})`, advice.prototype);
  }

  #readMembers(name: ts.Expression, on: ts.Expression): void {
    const type = this.#checker.getNonNullableType(this.#checker.getTypeAtLocation(on));
    const owner = this.#packageType(type);
    if (owner === undefined || type.getStringIndexType() !== undefined) return;
    for (const text of this.#textsOf(name))
      if (!partsOf(type).some((part) => this.#isPublic(part, text)))
        this.#report(name, `${owner}.${text}`, advice.hidden);
  }

  /** The texts that an expression may have, where they are constants. */
  #textsOf(expression: ts.Expression): readonly string[] {
    if (ts.isBinaryExpression(expression) && expression.operatorToken.kind === ts.SyntaxKind.PlusToken) {
      const ends = this.#textsOf(expression.right);
      return this.#textsOf(expression.left).flatMap((begin) => ends.map((end) => begin + end));
    }
    const type = this.#checker.getTypeAtLocation(expression);
    return partsOf(type).flatMap((part) => (part.isStringLiteral() ? [part.value] : []));
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
    return member !== undefined && !isHidden(member);
  }

  /** The name of the package's type that this is, or is made of. Undefined where it has none. */
  #packageType(type: ts.Type): string | undefined {
    const known = this.#checker.getBaseConstraintOfType(type) ?? type;
    const symbol = known.aliasSymbol ?? known.getSymbol();
    if (symbol?.declarations?.some(isInPackage) && !symbol.declarations.some(isOfLanguage))
      return symbol.name;
    const parts = known.isUnionOrIntersection() ? known.types : (known.getBaseTypes() ?? []);
    for (const part of parts) {
      const name = this.#packageType(part);
      if (name !== undefined) return name;
    }
    return undefined;
  }
}

function partsOf(type: ts.Type): readonly ts.Type[] {
  return type.isUnion() ? type.types : [type];
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

function isHidden({ declarations = [] }: ts.Symbol): boolean {
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
  return declarations.some((each) => (ts.getCombinedModifierFlags(each) & hidden) !== 0);
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
  return isForeign(node) && !isOfLanguage(node);
}

/** Packages add to what is, as to `Array`. */
function isOfLanguage(node: ts.Node): boolean {
  return node.getSourceFile().fileName.includes("/node_modules/typescript/");
}

/** One line for each finding where it is not allowed, and for each entry of the list that is not needed. */
export function problemsOf(findings: readonly Finding[], allowed: readonly string[]): readonly string[] {
  const isIn = (file: string, place: string): boolean =>
    place.endsWith("/") ? file.startsWith(place) : file === place;
  const out = findings.filter(
    ({ file, advice: given }) =>
      given === advice.silenced || ![home, ...allowed].some((place) => isIn(file, place)),
  );
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
