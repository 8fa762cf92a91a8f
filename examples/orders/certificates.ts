// The development certificates: made where they are missing, and where to find each.
import type { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { writeDevelopmentCertificates } from "../../src/testing/development-certificates.ts";
import { type CertificatePaths, certificatesIn } from "../shared/certificates.ts";

const directory = fileURLToPath(new URL("../../certs-dev/", import.meta.url));

export const { serverTls, clientTls }: CertificatePaths = certificatesIn(directory);

/** The root of nobody we know. */
export const foreignCa: string = `${directory}foreign-ca.crt`;

/** @throws Error where they cannot be written. */
export async function makeCertificates(): Promise<void> {
  try {
    await writeDevelopmentCertificates(directory);
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `cannot make the development certificates in ${directory}: ${problem}; is the folder writable?`,
      { cause },
    );
  }
}

export interface KeyPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export function keyPair(name: "client" | "foreign-client" | "expired-client"): KeyPair {
  return { cert: readFileSync(`${directory}${name}.crt`), key: readFileSync(`${directory}${name}.key`) };
}

export function trustedRoot(): Buffer {
  return readFileSync(clientTls.ca);
}
