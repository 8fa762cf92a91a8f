// A policy evaluated as gRFC A43 describes it, rule by rule and word by word, to compare with; and random ones to evaluate.
import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { Call } from "../../../../src/chain/context.ts";
import { type MethodInfo, methodInfo } from "../../../../src/grpc/method.ts";
import type { PeerCertificate } from "../../../../src/grpc/peer.ts";

export interface WrittenRule {
  readonly name: string;
  readonly source?: { readonly principals?: readonly string[] };
  readonly request?: {
    readonly paths?: readonly string[];
    readonly headers?: readonly { readonly key: string; readonly values: readonly string[] }[];
  };
}

export interface WrittenPolicy {
  readonly name: string;
  readonly deny_rules?: readonly WrittenRule[];
  readonly allow_rules: readonly WrittenRule[];
  readonly audit_logging_options?: unknown;
}

/** A call as a policy sees it. */
export interface SeenCall {
  readonly path: string;
  /** What the certificate says; none: there is no certificate. Ignored on plaintext. */
  readonly certificate?:
    | (Pick<PeerCertificate, "uris" | "dnsNames"> & { readonly subject?: string })
    | undefined;
  /** Default: true. */
  readonly secure?: boolean;
  /** As they were sent, one after the other. */
  readonly headers: readonly (readonly [key: string, value: string])[];
}

export function naivelyAllows(policy: WrittenPolicy, call: SeenCall): boolean {
  if ((policy.deny_rules ?? []).some((rule) => naivelyMatches(rule, call))) return false;
  return policy.allow_rules.some((rule) => naivelyMatches(rule, call));
}

function naivelyMatches({ source, request }: WrittenRule, call: SeenCall): boolean {
  const { principals = [] } = source ?? {};
  const { paths = [], headers = [] } = request ?? {};
  const names = namesOf(call);
  return (
    (principals.length === 0 || principals.some((each) => names.some((name) => compare(each, name)))) &&
    (paths.length === 0 || paths.some((each) => compare(each, call.path))) &&
    headers.every(({ key, values }) => {
      const sent = call.headers.filter(([name]) => name === key.toLowerCase());
      const joined = sent.map(([, value]) => value).join(",");
      return sent.length > 0 && values.some((each) => compare(each, joined));
    })
  );
}

function namesOf({ certificate, secure = true }: SeenCall): readonly string[] {
  if (certificate === undefined) return secure ? [""] : [];
  if (certificate.uris.length > 0) return certificate.uris;
  return certificate.dnsNames.length > 0 ? certificate.dnsNames : [certificate.subject ?? ""];
}

function compare(written: string, value: string): boolean {
  if (written === "*") return value.length > 0;
  if (written.slice(-1) === "*") return value.slice(0, written.length - 1) === written.slice(0, -1);
  if (written.slice(0, 1) === "*")
    return (
      written.length - 1 <= value.length &&
      value.slice(value.length - written.length + 1) === written.slice(1)
    );
  return value === written;
}

const silent = pino({ enabled: false });

export function callOf({ path, certificate, secure = true, headers }: SeenCall): Call {
  const metadata = new Metadata();
  for (const [key, value] of headers) metadata.add(key, value);
  return new Call({
    method: methodInfo(path, "unary", true),
    peer: {
      address: "192.0.2.7",
      port: 50_123,
      secure,
      certificate: certificate === undefined ? undefined : certificateWith(certificate),
    },
    metadata,
    metadataBytes: 0,
    rawFields: [":method", "POST", ":path", path, ...headers.flat()],
    timeoutMs: undefined,
    logger: silent,
  });
}

export function certificateWith(names: Partial<PeerCertificate>): PeerCertificate {
  return {
    name: undefined,
    uris: [],
    dnsNames: [],
    commonName: undefined,
    serialNumber: "01",
    issuer: "CN=CA",
    fingerprint256: "00",
    notBefore: 0,
    notAfter: Number.POSITIVE_INFINITY,
    ...names,
  };
}

/** The same numbers for the same seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * limit);
  }

  one<T>(of: readonly T[]): T {
    if (of.length === 0) throw new RangeError("nothing to choose from");
    return of[this.below(of.length)] as T;
  }

  /** 0 to `most` of them. */
  some<T>(of: readonly T[], most: number): readonly T[] {
    return Array.from({ length: this.below(most + 1) }, () => this.one(of));
  }
}

export const randomPaths: readonly string[] = [
  "/shop.v1.Orders/Get",
  "/shop.v1.Orders/List",
  "/shop.v1.Orders/Refund",
  "/shop.v1.Stock/Get",
  "/admin.v1.Panel/Reset",
];

const names = [
  "spiffe://shop.example/orders",
  "spiffe://shop.example/orders/eu",
  "spiffe://shop.example/admin",
  "orders.shop.example",
  "CN=orders,O=Shop",
  "",
];
const keys = ["x-team", "x-stage", "x-region"];
const values = ["a", "ab", "abc", "b", "bc", "a,b", ""];

/** A text of the universe as it may stand in a policy: whole, or with an end of it replaced by a wildcard. */
function written(random: Random, of: readonly string[]): string {
  const text = random.one(of);
  const cut = random.below(text.length + 1);
  return random.one([text, text, `${text.slice(0, cut)}*`, `*${text.slice(cut)}`, "*"]);
}

function randomRule(random: Random, place: number): WrittenRule {
  const many = (of: readonly string[], most: number): string[] =>
    Array.from({ length: random.below(most + 1) }, () => written(random, of));
  return {
    // Some names come twice: the last rule counts.
    name: `rule-${random.below(8) === 0 ? Math.max(0, place - 1) : place}`,
    ...(random.below(3) === 0 ? {} : { source: { principals: many(names, 3) } }),
    ...(random.below(4) === 0
      ? {}
      : {
          request: {
            paths: many(randomPaths, 3),
            headers: random
              .some(keys, 2)
              .map((key) => ({ key, values: [written(random, values), ...many(values, 2)] })),
          },
        }),
  };
}

export function randomPolicy(random: Random, most = 5): WrittenPolicy {
  const rules = (least: number): WrittenRule[] =>
    Array.from({ length: least + random.below(most) }, (_, place) => randomRule(random, place));
  return { name: "random", deny_rules: rules(0), allow_rules: rules(1) };
}

/** As gRPC keeps rules: of several with one name the last. */
export function inForce(policy: WrittenPolicy): WrittenPolicy {
  const last = (rules: readonly WrittenRule[]): WrittenRule[] => [
    ...new Map(rules.map((rule) => [rule.name, rule])).values(),
  ];
  return { ...policy, deny_rules: last(policy.deny_rules ?? []), allow_rules: last(policy.allow_rules) };
}

export function randomCall(random: Random): SeenCall {
  const name = random.one([...names, undefined]);
  const certificate =
    name === undefined
      ? undefined
      : {
          uris: name.startsWith("spiffe") ? [name, ...random.some(names.slice(0, 3), 1)] : [],
          dnsNames: random.below(3) === 0 || name.startsWith("orders") ? ["orders.shop.example"] : [],
          subject: name.startsWith("CN") ? name : "",
        };
  return {
    path: random.one(randomPaths),
    ...(certificate === undefined ? {} : { certificate }),
    secure: random.below(10) !== 0,
    headers: random.some(keys, 4).map((key) => [key, random.one(values)] as const),
  };
}

export const randomMethods: readonly MethodInfo[] = randomPaths.map((path) =>
  methodInfo(path, "unary", true),
);
