// What the types say of an option: its doc comment, and whether it must be there. Read with the compiler, so that what
// an option means is written once, where an editor shows it.
import { join } from "node:path";
import ts from "typescript";

export interface MemberType {
  /** The doc comment's text, without its tags. */
  readonly doc: string;
  /** Its type as it is written, without `undefined`. */
  readonly written: string;
  /** Undefined where it need not be given; else when it must be, `""` for always. */
  readonly requiredWhen: string | undefined;
  /** Does it choose between the forms of its object, as `plaintext` does? Left out, it chooses the one without it. */
  readonly chooses: boolean;
  readonly type: ts.Type;
}

/** The public types of the package. */
export class PublicTypes {
  readonly #checker: ts.TypeChecker;
  readonly #exports: ReadonlyMap<string, ts.Symbol>;

  constructor(root: string) {
    const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
    const entries = [
      "src/index.ts",
      "src/middleware/index.ts",
      "src/testing/index.ts",
      "src/redis/index.ts",
      "src/postgres/index.ts",
      "src/oauth/index.ts",
      "src/google/index.ts",
      "src/crl/index.ts",
      "src/opa/index.ts",
      "src/cel/index.ts",
      "src/protovalidate/index.ts",
    ].map((file) => join(root, file));
    const program = ts.createProgram(entries, options);
    const checker = program.getTypeChecker();
    this.#checker = checker;
    this.#exports = new Map(
      entries.flatMap((entry) => {
        const source = program.getSourceFile(entry);
        const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
        if (module === undefined) throw new Error(`${entry}: no module`);
        return checker.getExportsOfModule(module).map((symbol) => [symbol.name, symbol] as const);
      }),
    );
  }

  named(name: string): ts.Type {
    const symbol = this.#exports.get(name);
    if (symbol === undefined) throw new Error(`${name}: not exported`);
    const own = symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
    return this.#checker.getDeclaredTypeOfSymbol(own);
  }

  /** A member of a type, or of the types that it is one of. */
  member(type: ts.Type, name: string): MemberType | undefined {
    const forms = this.#forms(type);
    const found = forms.flatMap((form) => {
      const symbol = form.getProperty(name);
      return symbol === undefined ? [] : [{ form, symbol }];
    });
    const [first] = found;
    if (first === undefined) return undefined;
    const required = found.filter(({ symbol }) => !(symbol.flags & ts.SymbolFlags.Optional));
    return {
      doc: [...new Set(found.map(({ symbol }) => this.#docOf(symbol)))].join(" "),
      written: writtenType(first.symbol),
      requiredWhen: this.#whenIn(
        required.map(({ form }) => form),
        forms,
        name,
      ),
      chooses: found.length < forms.length && this.#isMark(first.symbol),
      type: this.#checker.getTypeOfSymbol(first.symbol),
    };
  }

  /** What stands under each name, where the type is a record. */
  entry(type: ts.Type): ts.Type | undefined {
    return this.#forms(type)
      .map((form) => form.getStringIndexType())
      .find((entry) => entry !== undefined);
  }

  /** The object types that a value may have. */
  #forms(type: ts.Type): readonly ts.Type[] {
    const present = this.#checker.getNonNullableType(type);
    return (present.isUnion() ? present.types : [present]).filter((form) => form.flags & ts.TypeFlags.Object);
  }

  #docOf(symbol: ts.Symbol): string {
    return ts.displayPartsToString(symbol.getDocumentationComment(this.#checker));
  }

  /** Forms of one type are told apart by a member that is a literal, such as `plaintext: "mesh"`. */
  #whenIn(required: readonly ts.Type[], forms: readonly ts.Type[], name: string): string | undefined {
    if (required.length === 0) return undefined;
    if (required.length === forms.length) return "";
    const marks = forms.flatMap((form) => form.getProperties()).filter((member) => this.#isMark(member));
    if (marks.some((mark) => mark.name === name)) return undefined;
    return required.map((form) => this.#markOf(form, marks)).join(" or ");
  }

  #isMark(member: ts.Symbol): boolean {
    const type = this.#checker.getTypeOfSymbol(member);
    return (type.isUnion() ? type.types : [type]).every((one) => one.isStringLiteral());
  }

  #markOf(form: ts.Type, marks: readonly ts.Symbol[]): string {
    const own = form.getProperties().find((member) => this.#isMark(member));
    if (own === undefined) return `without \`${marks[0]?.name}\``;
    return `with \`${own.name}: ${this.#checker.typeToString(this.#checker.getTypeOfSymbol(own))}\``;
  }
}

function writtenType(symbol: ts.Symbol): string {
  const [declaration] = symbol.declarations ?? [];
  if (declaration === undefined) return "";
  if (ts.isMethodSignature(declaration)) return "function";
  if (!ts.isPropertySignature(declaration) || declaration.type === undefined) return "";
  return declaration.type
    .getText()
    .replace(/\s+/g, " ")
    .replace(/^\| /, "")
    .replace(/ \| undefined$/, "");
}
