// With `exactOptionalPropertyTypes`: an optional option may be given as undefined, and is then not given. Never run: the
// type check of this file, in the strictest settings, is the test (test/types/types.test.ts).
import type {
  ApiKeyRecord,
  ClientTlsOptions,
  IssueApiKeyOptions,
  JwtOptions,
  MtlsOptions,
  SecureClientOptions,
  SecureServerOptions,
  ServerTlsOptions,
  StatusErrorOptions,
} from "../../src/index.ts";

/** An object in which every optional property of `Options` is undefined must be `Options`. */
type Undefined<Options> = {
  readonly [Name in keyof Options]: Record<never, never> extends Pick<Options, Name>
    ? undefined
    : Options[Name];
};
function accepted<Options>(_undefined: Undefined<Options> extends Options ? true : false): void {}

accepted<SecureServerOptions>(true);
accepted<NonNullable<SecureServerOptions["rateLimit"]>>(true);
accepted<NonNullable<SecureServerOptions["limits"]>>(true);
accepted<NonNullable<SecureServerOptions["deadline"]>>(true);
accepted<NonNullable<SecureServerOptions["enforce"]>>(true);
accepted<NonNullable<SecureServerOptions["audit"]>>(true);
accepted<NonNullable<SecureServerOptions["peer"]>>(true);
accepted<Exclude<NonNullable<SecureServerOptions["health"]>, false>>(true);
accepted<NonNullable<SecureServerOptions["methods"]>[string]>(true);
accepted<NonNullable<SecureServerOptions["channelOptions"]>>(true);
accepted<SecureClientOptions>(true);
accepted<NonNullable<SecureClientOptions["channelOptions"]>>(true);
accepted<JwtOptions>(true);
accepted<NonNullable<JwtOptions["claims"]>>(true);
accepted<NonNullable<JwtOptions["cache"]>>(true);
accepted<MtlsOptions>(true);
accepted<ApiKeyRecord>(true);
accepted<IssueApiKeyOptions>(true);
accepted<StatusErrorOptions>(true);

// TLS alone refuses it: a variable that is not set must not end in fewer checks (T2, T3).
accepted<ServerTlsOptions>(false);
accepted<ClientTlsOptions>(false);
