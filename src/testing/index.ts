// `grpc-palisade/testing`: what a test of a secured service needs. Certificates need the packages @peculiar/x509
// and reflect-metadata.
export {
  type CertificateAuthority,
  type CertificateAuthorityOptions,
  type CertificateRequest,
  type CertificateUsage,
  createCertificateAuthority,
  type IssuedCertificate,
  type RevocationListRequest,
} from "./certificate-authority.ts";
export {
  type DevelopmentCertificatesOptions,
  developmentCertificates,
  developmentClientId,
  writeDevelopmentCertificates,
} from "./development-certificates.ts";
export {
  type SecuredServer,
  type SecuredServerOptions,
  startSecuredServer,
  type TestClientOptions,
} from "./secured-server.ts";
export {
  createTokenIssuer,
  type SignOptions,
  type TokenAlgorithm,
  type TokenIssuer,
  type TokenIssuerBehaviour,
  type TokenIssuerOptions,
} from "./token-issuer.ts";
