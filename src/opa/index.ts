// `grpc-palisade/opa`: Open Policy Agent decides, as a server or compiled into this process. @open-policy-agent/opa-wasm is an
// optional peer, for `opaWasm` alone.

export { type OpaOptions, opa } from "./opa.ts";
export type { OpaInput, OpaParty } from "./opa-input.ts";
export type { OpaPolicyOptions } from "./opa-policy.ts";
export { type OpaWasmOptions, opaWasm } from "./opa-wasm.ts";
