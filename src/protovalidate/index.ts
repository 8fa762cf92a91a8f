// `grpc-palisade/protovalidate`: rules of messages in .proto files. @bufbuild/protovalidate, @bufbuild/protobuf and @bufbuild/cel are
// optional peers.

export { type ProtovalidateOptions, protovalidate } from "./protovalidate.ts";
