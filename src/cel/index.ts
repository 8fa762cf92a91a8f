// `grpc-palisade/cel`: conditions of rules in CEL. @bufbuild/cel and @bufbuild/protobuf are optional peers.

export { type CelOptions, cel, celWith } from "./cel.ts";
