// Tokens as an attacker would vary them, made from a seed. Whether one is acceptable depends on the seed alone, not on the
// keys that sign: so keys are made for each run, and none is stored.
import { Buffer } from "node:buffer";
import { createHmac, createPublicKey, type KeyObject, sign } from "node:crypto";
import {
  type Alg,
  audience,
  encode,
  issuer,
  type SigningKey,
  signatureOf,
  signed,
  signingKey,
} from "./identity-provider.ts";

/** The keys of the issuer, and of somebody else who publishes his under the same names. */
export interface MutationKeys {
  readonly own: Readonly<Record<Alg, SigningKey>>;
  readonly foreign: Readonly<Record<Alg, SigningKey>>;
}

export interface MutatedToken {
  /** What was done to it. */
  readonly what: string;
  readonly token: string;
}

/** What the clock says while the tokens are verified, in seconds. */
export const mutationNow = 1_800_000_000.7;

const algs = ["RS256", "PS256", "ES256", "ES384", "EdDSA"] as const;

export function mutationKeys(): MutationKeys {
  const make = (): Readonly<Record<Alg, SigningKey>> => ({
    RS256: signingKey("RS256", "rs256"),
    PS256: signingKey("PS256", "ps256"),
    ES256: signingKey("ES256", "es256"),
    ES384: signingKey("ES384", "es384"),
    EdDSA: signingKey("EdDSA", "eddsa"),
  });
  return { own: make(), foreign: make() };
}

export function mutatedTokens(seed: number, count: number, keys: MutationKeys): Iterable<MutatedToken> {
  return new Mutations(seed, keys).take(count);
}

/** mulberry32: small, and the same on every machine. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number from 0 to `below` - 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  of<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error("nothing to choose from");
    return value;
  }
}

type Parts = readonly [header: string, payload: string, signature: string];

const base64urlAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const alienCharacters = [..." +/=.,~%\t\n\r\0\u0080\u00a0\u00ff\u0130\u2028\ud800\uff21"];
const groupOrder = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/** JSON texts that stand in the place of a value. */
const oddValues = [
  "null",
  "true",
  "false",
  "0",
  "-0",
  "1",
  "-1",
  "7.5",
  "1e400",
  "-1e400",
  "1e300",
  "1e21",
  "8640000000001",
  "NaN",
  "Infinity",
  "0x10",
  "01",
  '""',
  '" "',
  '"0"',
  '"1800000300"',
  '"orders"',
  '"ada"',
  '"\\ud800"',
  '"a\\udfffb"',
  '"\\u0000"',
  '"\\u202e"',
  "[]",
  "[[]]",
  '["orders"]',
  '["orders",7]',
  '["orders",null]',
  '["orders",["orders"]]',
  '[["orders"]]',
  '["x","orders"]',
  '[""]',
  "{}",
  '{"orders":true}',
  '{"0":"orders","length":1}',
  '{"__proto__":{"a":1}}',
  '{"a":{"__proto__":1}}',
  '[{"__proto__":null}]',
  '{"constructor":{"prototype":1}}',
  '{"toString":1,"valueOf":2,"toJSON":3}',
] as const;

const dates = [
  "1799999000",
  "1799999994",
  "1799999995",
  "1799999995.5",
  "1799999995.69",
  "1799999995.71",
  "1799999996",
  "1799999996.5",
  "1799999999",
  "1800000000",
  "1800000000.7",
  "1800000004",
  "1800000005",
  "1800000005.5",
  "1800000005.71",
  "1800000006",
  "1800000006.5",
  "1800000300.25",
  "1800001000",
  "-1800000300",
  "0.1",
] as const;

const claimNames = [
  "iss",
  "aud",
  "sub",
  "exp",
  "nbf",
  "iat",
  "tenant",
  "roles",
  "permissions",
  "cnf",
  "jti",
  "client_id",
  "azp",
  "__proto__",
  "constructor",
  "a",
] as const;

const headerNames = [
  "alg",
  "kid",
  "typ",
  "cty",
  "crit",
  "b64",
  "jwk",
  "jku",
  "x5u",
  "x5c",
  "x5t",
  "zip",
  "enc",
  "__proto__",
  "constructor",
  "nonce",
] as const;

const algNames = [
  ...algs,
  "none",
  "None",
  "NONE",
  "nOnE",
  "",
  "HS256",
  "HS384",
  "HS512",
  "RS384",
  "RS512",
  "PS384",
  "PS512",
  "ES512",
  "ES256K",
  "Ed25519",
  "Ed448",
  "ML-DSA-44",
  "rs256",
  "RS256 ",
  "toString",
  "__proto__",
  "constructor",
  "dir",
] as const;

const types = [
  "JWT",
  "jwt",
  "JOSE",
  "at+jwt",
  "AT+JWT",
  "application/at+jwt",
  "application/jwt",
  "APPLICATION/JWT",
  "application/application/jwt",
  "application/",
  "application/jwt/x",
  "logout+jwt",
  "dpop+jwt",
  "secevent+jwt",
  "JWT ",
  "",
] as const;

class Mutations {
  readonly #random: Random;
  readonly #keys: MutationKeys;
  /** A good token for each algorithm: what is done to its text needs no signature. */
  readonly #good: ReadonlyMap<Alg, Parts>;
  readonly #kinds: readonly (readonly [name: string, weight: number, make: () => string])[];
  readonly #weight: number;

  constructor(seed: number, keys: MutationKeys) {
    this.#random = new Random(seed);
    this.#keys = keys;
    this.#good = new Map(
      algs.map((alg) => [alg, partsOf(this.#signed(alg, this.#header(alg), this.#claims()))]),
    );
    this.#kinds = [
      ["characters", 8, () => this.#characters()],
      ["two changes of characters", 2, () => this.#charactersOf(this.#characters())],
      ["bits", 6, () => this.#bits()],
      ["padding", 2, () => this.#padding()],
      ["stray bits", 2, () => this.#strayBits()],
      ["white space", 3, () => this.#whiteSpace()],
      ["alphabet", 2, () => this.#alphabet()],
      ["parts", 3, () => this.#parts()],
      ["signature", 6, () => this.#signature()],
      ["alg", 4, () => this.#withHeader({ alg: JSON.stringify(this.#random.of(algNames)) })],
      ["typ", 3, () => this.#withHeader({ typ: JSON.stringify(this.#random.of(types)) })],
      ["kid", 3, () => this.#withHeader({ kid: this.#kid() })],
      ["crit", 2, () => this.#crit()],
      [
        "header member",
        5,
        () => this.#withHeader({ [this.#random.of(headerNames)]: this.#random.of(oddValues) }),
      ],
      ["header text", 3, () => this.#headerText()],
      ["key in the header", 2, () => this.#keyInHeader()],
      ["claim", 14, () => this.#withClaims(`"${this.#random.of(claimNames)}":${this.#random.of(oddValues)}`)],
      ["date", 8, () => this.#date()],
      ["claim left out", 2, () => this.#claimLeftOut()],
      ["binding", 2, () => this.#binding()],
      ["payload text", 4, () => this.#payloadText()],
      ["confusion of algorithms", 4, () => this.#confusion()],
      ["another key", 4, () => this.#anotherKey()],
      ["untouched", 1, () => this.#signed(this.#alg(), this.#header(this.#alg()), this.#claims())],
      ["several changes", 5, () => this.#several()],
    ];
    this.#weight = this.#kinds.reduce((sum, [, weight]) => sum + weight, 0);
  }

  *take(count: number): Generator<MutatedToken> {
    for (let made = 0; made < count; made++) {
      let at = this.#random.below(this.#weight);
      for (const [what, weight, make] of this.#kinds) {
        at -= weight;
        if (at >= 0) continue;
        yield { what, token: make() };
        break;
      }
    }
  }

  /** Mostly the quick ones. */
  #alg(): Alg {
    return this.#random.of(["ES256", "ES256", "ES256", "EdDSA", "EdDSA", "EdDSA", "RS256", "PS256", "ES384"]);
  }

  #header(alg: Alg, more: Readonly<Record<string, string>> = {}): string {
    const members = { alg: `"${alg}"`, kid: `"${this.#keys.own[alg].kid}"`, typ: '"JWT"', ...more };
    return objectText(Object.entries(members));
  }

  #claims(more = ""): string {
    const text = `{"iss":"${issuer}","aud":"${audience}","sub":"ada","iat":1799999990,"exp":1800000300,"jti":"${this.#random.below(1e9)}"`;
    return more === "" ? `${text}}` : `${text},${more}}`;
  }

  #signed(alg: Alg, header: string, payload: string): string {
    return signed(this.#keys.own[alg], header, payload);
  }

  #goodParts(): Parts {
    const parts = this.#good.get(this.#alg());
    if (parts === undefined) throw new Error("there is a good token for each algorithm");
    return parts;
  }

  #replaced(change: (part: string) => string): string {
    const parts = [...this.#goodParts()];
    const at = this.#random.below(3);
    const part = parts[at] ?? "";
    parts[at] = different(part, change(part));
    return parts.join(".");
  }

  #characters(): string {
    return this.#charactersOf(this.#goodParts().join("."));
  }

  #charactersOf(text: string): string {
    return different(text, this.#changed(text));
  }

  #changed(text: string): string {
    const at = this.#random.below(text.length + 1);
    const to = Math.min(text.length, at + 1 + this.#random.below(8));
    const one =
      this.#random.below(4) === 0
        ? this.#random.of(alienCharacters)
        : this.#random.of([...base64urlAlphabet]);
    switch (this.#random.below(6)) {
      case 0:
        return text.slice(0, at) + one + text.slice(at);
      case 1:
        return text.slice(0, at) + text.slice(to);
      case 2:
        return text.slice(0, to) + text.slice(at);
      case 3:
        return text.slice(0, at);
      case 4:
        return text.slice(at);
      default:
        return text.slice(0, at) + one + text.slice(at + 1);
    }
  }

  #bits(): string {
    return this.#replaced((part) => {
      const bytes = Buffer.from(part, "base64url");
      const at = this.#random.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << this.#random.below(8));
      return bytes.toString("base64url");
    });
  }

  #padding(): string {
    const padding = this.#random.of(["=", "==", "===", "%3D", "%3d%3d", "A", "AA", "AAA", "AAAA"]);
    return this.#replaced((part) => (this.#random.below(4) === 0 ? padding + part : part + padding));
  }

  #strayBits(): string {
    return this.#replaced((part) => {
      const last = base64urlAlphabet.indexOf(part.slice(-1));
      return part.slice(0, -1) + base64urlAlphabet.charAt(last ^ (1 + this.#random.below(15)));
    });
  }

  #whiteSpace(): string {
    const space = this.#random.of([
      " ",
      "  ",
      "\t",
      "\n",
      "\r\n",
      "\f",
      "\v",
      "\u00a0",
      "\u2003",
      "\ufeff",
      "%20",
      "+",
    ]);
    return this.#replaced((part) => {
      const at = this.#random.of([0, part.length, this.#random.below(part.length + 1)]);
      return part.slice(0, at) + space + part.slice(at);
    });
  }

  #alphabet(): string {
    const write = this.#random.of([
      (bytes: Buffer) => bytes.toString("base64"),
      (bytes: Buffer) => bytes.toString("base64").replaceAll("=", ""),
      (bytes: Buffer) => bytes.toString("hex"),
      (bytes: Buffer) => bytes.toString("latin1"),
      (bytes: Buffer) => encodeURIComponent(bytes.toString("base64")),
      (bytes: Buffer) => bytes.toString("base64url").toUpperCase(),
      (bytes: Buffer) => bytes.toString("base64url").replace(/.{64}/g, "$&\n"),
    ]);
    return this.#replaced((part) => write(Buffer.from(part, "base64url")));
  }

  #parts(): string {
    const [header, payload, signature] = this.#goodParts();
    const [otherHeader, otherPayload, otherSignature] = this.#goodParts();
    return this.#random.of([
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `.${payload}.${signature}`,
      `${header}..${signature}`,
      `${header}.${payload}.${signature}.`,
      `.${header}.${payload}.${signature}`,
      `${header}.${payload}.${signature}.${signature}`,
      `${header}.${payload}.${signature}.AAAA.AAAA`,
      `${payload}.${header}.${signature}`,
      `${header}.${signature}.${payload}`,
      `${otherHeader}.${payload}.${signature}`,
      `${header}.${otherPayload}.${signature}`,
      `${header}.${payload}.${otherSignature}`,
      `${header}.${payload}..${signature}`,
      "..",
      ".",
      "",
      header,
      `"${header}.${payload}.${signature}"`,
      `{"protected":"${header}","payload":"${payload}","signature":"${signature}"}`,
    ]);
  }

  #signature(): string {
    const alg = this.#alg();
    const key = this.#keys.own[alg];
    const input = `${encode(this.#header(alg))}.${encode(this.#claims())}`;
    const good = signatureOf(key, input);
    const half = good.length / 2;
    const size = 1 + this.#random.below(9);
    const changed = this.#random.of<() => Buffer>([
      () => good.subarray(size),
      () => good.subarray(0, -size),
      () => good.subarray(0, half),
      () => Buffer.concat([good, Buffer.alloc(size)]),
      () => Buffer.concat([Buffer.alloc(size), good]),
      () => Buffer.concat([good, good]),
      () => Buffer.alloc(good.length),
      () => Buffer.alloc(good.length, 0xff),
      () => Buffer.alloc(size),
      () => Buffer.concat([Buffer.alloc(half), good.subarray(half)]),
      () => Buffer.concat([good.subarray(0, half), Buffer.alloc(half)]),
      () => Buffer.concat([good.subarray(half), good.subarray(0, half)]),
      () => Buffer.from(good).reverse(),
      () => Buffer.from(groupOrder + groupOrder, "hex"),
      () => Buffer.from("3006020101020101", "hex"),
      () => (alg === "ES256" || alg === "ES384" ? derSignature(key, input) : good.subarray(1)),
      () => (alg === "ES256" ? mirrored(good) : Buffer.from(good).reverse()),
      () => signatureOf(key, `${input} `),
      () => signatureOf(key, encode(this.#claims())),
      () => signatureOf(key, input.replace(".", "")),
      () => good,
    ])();
    return `${input}.${encode(changed)}`;
  }

  #withHeader(more: Readonly<Record<string, string>>): string {
    const alg = this.#alg();
    return this.#signed(alg, this.#header(alg, more), this.#claims());
  }

  #kid(): string {
    return this.#random.of([
      ...algs.map((alg) => `"${this.#keys.own[alg].kid}"`),
      '"unknown"',
      '""',
      '"../../dev/null"',
      '"ES256"',
      '"es256 "',
      '"__proto__"',
      '"constructor"',
      "null",
      "7",
      "[]",
      '["es256"]',
      '{"a":1}',
      "true",
      '"\\ud800"',
      `"${"k".repeat(5_000)}"`,
    ]);
  }

  #crit(): string {
    const crit = this.#random.of([
      "[]",
      '["b64"]',
      '["exp"]',
      '["alg"]',
      '"b64"',
      "null",
      "{}",
      '[""]',
      "[1]",
      '["b64","b64"]',
    ]);
    const b64 = this.#random.of(["true", "false", "null", '"false"']);
    const more: Record<string, string> = this.#random.below(2) === 0 ? { crit } : { crit, b64 };
    const alg = this.#alg();
    const header = encode(this.#header(alg, more));
    const payload = this.#claims();
    // With and without the payload's encoding, which b64 is about.
    const input = this.#random.below(2) === 0 ? `${header}.${payload}` : `${header}.${encode(payload)}`;
    return `${input}.${encode(signatureOf(this.#keys.own[alg], input))}`;
  }

  /** The JSON text of header or payload, spoilt. */
  #text(good: string): string | Buffer {
    const bytes = Buffer.from(good);
    return this.#random.of<() => string | Buffer>([
      () => `\ufeff${good}`,
      () => ` ${good} `,
      () => `${good}\0`,
      () => `${good}x`,
      () => `${good}${good}`,
      () => `[${good}]`,
      () => JSON.stringify(good),
      () => good.replace("}", ",}"),
      () => good.replaceAll('"', "'"),
      () => good.slice(0, -1),
      () => `/**/${good}`,
      () => this.#random.of(oddValues),
      () => `${"[".repeat(900)}${"]".repeat(900)}`,
      () => good.replace("{", `{"deep":${'{"a":'.repeat(300)}1${"}".repeat(300)},`),
      () => Buffer.concat([bytes.subarray(0, -1), Buffer.from([0xff]), Buffer.from("}")]),
      () => Buffer.from(good.replace("}", ',"x":"\u00ff"}'), "latin1"),
      () => Buffer.concat([bytes.subarray(0, -1), Buffer.from(',"x":"'), this.#badUtf8(), Buffer.from('"}')]),
      () => Buffer.from(good, "utf16le"),
      () => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes]),
      () => good.replace("{", '{"__proto__":{"alg":"none","sub":"root"},'),
      () => good.replace("{", '{"\\u005f_proto__":1,'),
    ])();
  }

  /** Half a character, a surrogate, one that is too long, one beyond all. */
  #badUtf8(): Buffer {
    return Buffer.from(
      this.#random.of(["c3", "eda080", "c0af", "f8888080", "f4908080", "80", "e282"]),
      "hex",
    );
  }

  #headerText(): string {
    const alg = this.#alg();
    const good = this.#header(alg);
    const twice = this.#random.of(["alg", "kid", "typ"]);
    const header =
      this.#random.below(3) === 0
        ? good.replace("{", `{"${twice}":${this.#random.of(oddValues)},`)
        : this.#text(good);
    return this.#signedBytes(alg, header, this.#claims());
  }

  #payloadText(): string {
    const alg = this.#alg();
    const good = this.#claims();
    const twice = this.#random.of(["iss", "aud", "sub", "exp"]);
    const payload =
      this.#random.below(3) === 0
        ? good.replace("{", `{"${twice}":${this.#random.of(oddValues)},`)
        : this.#text(good);
    return this.#signedBytes(alg, this.#header(alg), payload);
  }

  #signedBytes(alg: Alg, header: string | Buffer, payload: string | Buffer): string {
    const input = `${encode(header)}.${encode(payload)}`;
    return `${input}.${encode(signatureOf(this.#keys.own[alg], input))}`;
  }

  #keyInHeader(): string {
    const alg = this.#alg();
    const foreign = this.#keys.foreign[alg];
    const der = foreign.publicKey.export({ type: "spki", format: "der" }).toString("base64");
    const more = this.#random.of<Record<string, string>>([
      { jwk: JSON.stringify(foreign.jwk) },
      { jku: '"http://127.0.0.1:1/jwks"' },
      { x5u: '"http://127.0.0.1:1/x5u"' },
      { x5c: JSON.stringify([der]) },
      { jwk: JSON.stringify(foreign.jwk), x5c: JSON.stringify([der]) },
    ]);
    const signer = this.#random.below(4) === 0 ? this.#keys.own[alg] : foreign;
    return signed(signer, this.#header(alg, more), this.#claims());
  }

  #withClaims(more: string): string {
    const alg = this.#alg();
    return this.#signed(alg, this.#header(alg), this.#claims(more));
  }

  #date(): string {
    const name = this.#random.of(["exp", "exp", "nbf", "nbf", "iat"]);
    const first = `"${name}":${this.#random.of(dates)}`;
    if (this.#random.below(3) !== 0) return this.#withClaims(first);
    return this.#withClaims(`${first},"${this.#random.of(["exp", "nbf", "iat"])}":${this.#random.of(dates)}`);
  }

  #claimLeftOut(): string {
    const alg = this.#alg();
    const name = this.#random.of(["iss", "aud", "sub", "exp", "iat", "jti"]);
    const payload = this.#claims().replace(`"${name}":`, '"left_out":');
    return this.#signed(alg, this.#header(alg), payload);
  }

  #binding(): string {
    const thumbprint = encode(Buffer.alloc(32, 1));
    return this.#withClaims(
      `"cnf":${this.#random.of([
        `{"x5t#S256":"${thumbprint}"}`,
        `{"x5t#S256":"${thumbprint}="}`,
        `{"x5t#S256":"${thumbprint.slice(1)}"}`,
        `{"x5t#S256":"${thumbprint}","jkt":"a"}`,
        '{"jkt":"a"}',
        '{"jwk":{}}',
        '{"x5t#S256":7}',
        "{}",
        "[]",
        '"x"',
        "null",
      ])}`,
    );
  }

  #confusion(): string {
    const alg = this.#alg();
    const key = this.#keys.own[alg];
    const secret = this.#random.of<() => string | Buffer>([
      () => key.publicKey.export({ type: "spki", format: "pem" }),
      () => key.publicKey.export({ type: "spki", format: "der" }),
      () => JSON.stringify(key.jwk),
      () => key.jwk.n ?? key.jwk.x ?? "",
      () => Buffer.from(key.jwk.n ?? key.jwk.x ?? "", "base64url"),
      () => key.kid,
      () => "",
    ])();
    const name = this.#random.of(["HS256", "HS384", "HS512", "none", ...algs]);
    const input = `${encode(this.#header(alg, { alg: `"${name}"` }))}.${encode(this.#claims())}`;
    const digest = name === "HS384" ? "sha384" : name === "HS512" ? "sha512" : "sha256";
    const mac = createHmac(digest, secret).update(input).digest();
    return `${input}.${this.#random.below(8) === 0 ? "" : encode(mac)}`;
  }

  /** Signed by a foreign key, or by another of the issuer's than the header names. */
  #anotherKey(): string {
    const [alg, named] = [this.#alg(), this.#alg()];
    const signer = this.#random.below(2) === 0 ? this.#keys.foreign[alg] : this.#keys.own[alg];
    const kid = this.#random.of([`"${this.#keys.own[named].kid}"`, `"${signer.kid}"`, '"unknown"']);
    const header = this.#header(this.#random.below(2) === 0 ? alg : named, { kid });
    return signed(
      signer,
      this.#random.below(3) === 0 ? header.replace(/,"kid":"[^"]*"/, "") : header,
      this.#claims(),
    );
  }

  #several(): string {
    const alg = this.#alg();
    const header = this.#header(alg, {
      typ: JSON.stringify(this.#random.of(types)),
      [this.#random.of(headerNames)]: this.#random.of(oddValues),
      ...(this.#random.below(2) === 0 ? { kid: this.#kid() } : {}),
    });
    const more = [0, 1, 2]
      .slice(this.#random.below(3))
      .map(() => `"${this.#random.of(claimNames)}":${this.#random.of(oddValues)}`);
    const text = this.#signed(alg, header, this.#claims(more.join(",")));
    return this.#random.below(3) === 0 ? this.#charactersOf(text) : text;
  }
}

/** A change that left a text as it was would depend on the signature's bytes. */
function different(before: string, after: string): string {
  return after === before ? `${after}/` : after;
}

function partsOf(token: string): Parts {
  const [header = "", payload = "", signature = ""] = token.split(".");
  return [header, payload, signature];
}

/** Values are JSON texts already. `JSON.stringify` could not write `__proto__`, or a number beyond all. */
function objectText(members: readonly (readonly [name: string, value: string])[]): string {
  return `{${members.map(([name, value]) => `"${name}":${value}`).join(",")}}`;
}

function derSignature({ alg, privateKey }: SigningKey, input: string): Buffer {
  return sign(alg === "ES256" ? "sha256" : "sha384", Buffer.from(input), privateKey);
}

/** (r, n - s) is as good a signature as (r, s): what verifies it has no say in that. */
function mirrored(signature: Buffer): Buffer {
  const order = BigInt(`0x${groupOrder}`);
  const s = BigInt(`0x${signature.subarray(32).toString("hex")}`);
  return Buffer.concat([
    signature.subarray(0, 32),
    Buffer.from((order - s).toString(16).padStart(64, "0"), "hex"),
  ]);
}

/** The same key without anything that names it. */
export function bare({ publicKey }: SigningKey): KeyObject {
  return createPublicKey(publicKey.export({ type: "spki", format: "pem" }));
}
