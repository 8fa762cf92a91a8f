// What one decision takes, by each way to authorize. The call that is decided about is a real one: it is held open meanwhile.
import { Buffer } from "node:buffer";
import { Client, credentials } from "@grpc/grpc-js";
import {
  type Authenticator,
  allowAuthenticated,
  type CallContext,
  createSecureServer,
  type Decision,
  grpcPolicy,
  type MethodInfo,
  type MethodPolicy,
  methodsOf,
  type Policy,
  rbac,
  type When,
} from "grpc-palisade";
import { cel } from "grpc-palisade/cel";
import { opaWasm } from "grpc-palisade/opa";
import { answerAsks } from "../process/ask.ts";
import type { DecisionAsks, Identities } from "../process/protocol.ts";
import { benchService, handlers, manyMethods, pathOfMany, paths, type Request } from "../servers/contract.ts";

/** Asks about one call, for the method whose turn it is. */
type Decide = (call: CallContext, message: unknown, turn: number) => Decision | Promise<Decision>;

interface HeldCall {
  readonly call: CallContext;
  readonly message: unknown;
}

const caller = "caller";
const few = 10;
const pathsOfMany: readonly string[] = Array.from({ length: 10_000 }, (_, at) => pathOfMany(at));
const payload = Buffer.from("ada");

let held: HeldCall | undefined;
let ways: ReadonlyMap<string, Decide> = new Map();

answerAsks<DecisionAsks>({
  async start({ identities, bundle }) {
    held = await holdCall(identities);
    ways = waysToDecide(bundle);
    return [...ways.keys()];
  },
  async decide({ way, count }) {
    const decide = ways.get(way);
    if (decide === undefined || held === undefined) throw new Error(`there is no way "${way}"`);
    const { call, message } = held;
    const before = process.hrtime.bigint();
    for (let turn = 0; turn < count; turn += 1) {
      const given = decide(call, message, turn);
      const { effect } = given instanceof Promise ? await given : given;
      if (effect !== "allow") throw new Error(`${way}: the call is not allowed`);
    }
    return Number(process.hrtime.bigint() - before) / 1_000 / count;
  },
});

/** The call of a client with a certificate, as the middleware sees it. Its handler never answers. */
async function holdCall({ ca, server: own, client: clients }: Identities): Promise<HeldCall> {
  const everybody: Authenticator = {
    name: "everybody",
    source: "metadata",
    presents: () => true,
    authenticate: () => ({
      principal: {
        subject: "ada",
        kind: "user",
        scheme: "jwt",
        roles: new Set([caller]),
        permissions: new Set(),
        claims: {},
      },
    }),
  };
  const { promise, resolve } = deferred<HeldCall>();
  const server = createSecureServer({
    tls: { cert: Buffer.from(own.cert), key: Buffer.from(own.key), clientCa: Buffer.from(ca) },
    authentication: everybody,
    authorization: allowAuthenticated(),
    middleware: [{ name: "held", onRequest: (message, call) => resolve({ call, message }) }],
    logger: false,
  });
  server.addService(benchService, handlers);
  const { port } = await server.listen("127.0.0.1:0");
  const client = new Client(
    `localhost:${port}`,
    credentials.createSsl(Buffer.from(ca), Buffer.from(clients.key), Buffer.from(clients.cert)),
  );
  const { Hold } = benchService;
  if (Hold === undefined) throw new Error("the contract has no Hold");
  const request: Request = { payload, messages: 1 };
  client.makeUnaryRequest(
    Hold.path,
    Hold.requestSerialize,
    Hold.responseDeserialize,
    request,
    () => undefined,
  );
  return promise;
}

function deferred<T>(): { readonly promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

function waysToDecide(bundle: string): ReadonlyMap<string, Decide> {
  const methods = methodsOf(benchService);
  const many = methodsOf(manyMethods(pathsOfMany.length));
  const ownerIs: When = (call, request) => call.principal?.subject === String(payloadOf(request));
  return new Map([
    ["rbac, ten rules", inTurn(rolePolicy(many.slice(0, few)), pathsOfMany.slice(0, few))],
    ["rbac, 10,000 rules", inTurn(rolePolicy(many), pathsOfMany)],
    ["rbac with `when`, a function", withMessage(conditionPolicy(methods, ownerIs))],
    [
      "rbac with `when`, cel",
      withMessage(conditionPolicy(methods, cel("request.payload == bytes(principal.subject)"))),
    ],
    ["gRPC policy, ten rules", inTurn(grpcPolicyOf(few).compile(methods), [paths.hold])],
    ["gRPC policy, 1,000 rules", inTurn(grpcPolicyOf(1_000).compile(methods), [paths.hold])],
    [
      "opa, compiled to WebAssembly",
      inTurn(opaWasm({ file: bundle, entrypoint: "test/authz/decision" }).compile(methods), [paths.hold]),
    ],
  ]);
}

function payloadOf(request: unknown): unknown {
  return typeof request === "object" && request !== null && "payload" in request
    ? request.payload
    : undefined;
}

function rolePolicy(methods: readonly MethodInfo[]): Policy {
  const rules = Object.fromEntries(methods.map(({ path }) => [path, { permissions: ["bench:call"] }]));
  return rbac({ roles: { [caller]: { permissions: ["bench:call"] } }, rules }).compile(methods);
}

function conditionPolicy(methods: readonly MethodInfo[], when: When | ReturnType<typeof cel>): Policy {
  const rules = { "/bench.v1.Bench/*": { roles: [caller], when } };
  return rbac({ roles: { [caller]: { permissions: [] } }, rules }).compile(methods);
}

/** Half of the rules deny others, half allow; the last one is the one that allows this caller. */
function grpcPolicyOf(count: number): ReturnType<typeof grpcPolicy> {
  const half = Array.from({ length: count / 2 }, (_, at) => at);
  return grpcPolicy({
    policy: JSON.stringify({
      name: "bench",
      deny_rules: half.map((at) => ({
        name: `deny ${at}`,
        source: { principals: [`spiffe://bench.example/other/${at}`] },
        request: { paths: [`/bench.v1.Bench/*`], headers: [{ key: "x-region", values: [`region-${at}`] }] },
      })),
      allow_rules: half.map((at) => ({
        name: `allow ${at}`,
        source: {
          principals: [
            at === half.length - 1 ? "spiffe://bench.example/*" : `spiffe://bench.example/team/${at}/*`,
          ],
        },
        request: { paths: ["/bench.v1.Bench/*"] },
      })),
    }),
  });
}

/** Methods take turns in an order that no cache of the processor likes. */
function inTurn(policy: Policy, ofPaths: readonly string[]): Decide {
  const ofMethods = ofPaths.map((path) => methodPolicy(policy, path));
  const stride = 7_919;
  return (call, _message, turn) => {
    const method = ofMethods[(turn * stride) % ofMethods.length];
    if (method === undefined) throw new Error("there is no method");
    return method.decide(call);
  };
}

/** Both questions of one method. */
function withMessage(policy: Policy): Decide {
  const method = methodPolicy(policy, paths.hold);
  return (call, message) => {
    const first = method.decide(call);
    if (first instanceof Promise || first.effect !== "allow") return first;
    if (method.decideMessage === undefined) throw new Error("the policy does not look at messages");
    return method.decideMessage(call, message);
  };
}

function methodPolicy(policy: Policy, path: string): MethodPolicy {
  const method = policy.forMethod(path);
  if (method === undefined) throw new Error(`there is no policy for ${path}`);
  return method;
}
