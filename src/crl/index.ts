// `grpc-palisade/crl`: revoked client certificates, from lists in files.

export { type CrlFilesOptions, crlFiles } from "./crl-files.ts";
