// Development certificates, as `npx palisade certs` makes them: where each file of a folder is.
import { join } from "node:path";
import { writeDevelopmentCertificates } from "grpc-palisade/testing";

export interface CertificatePaths {
  readonly serverTls: { readonly cert: string; readonly key: string; readonly clientCa: string };
  readonly clientTls: { readonly ca: string; readonly cert: string; readonly key: string };
}

export function certificatesIn(directory: string): CertificatePaths {
  const path = (name: string): string => join(directory, name);
  return {
    serverTls: { cert: path("server.crt"), key: path("server.key"), clientCa: path("ca.crt") },
    clientTls: { ca: path("ca.crt"), cert: path("client.crt"), key: path("client.key") },
  };
}

/** Those of `certs-dev` in the working directory, made where they are missing. */
export async function developmentCertificates(): Promise<CertificatePaths> {
  await writeDevelopmentCertificates("certs-dev");
  return certificatesIn("certs-dev");
}
