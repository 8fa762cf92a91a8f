// Which versions of TLS and which ciphers, on both sides. What an option asks for and OpenSSL would drop in silence is
// refused here.
import { createSecureContext, getCiphers } from "node:tls";
import { z } from "zod";

/** The oldest version that is spoken. TLS 1.2 is RFC 5246, TLS 1.3 is RFC 8446; older ones are forbidden (RFC 8996). */
export type TlsVersion = "TLSv1.3" | "TLSv1.2";

export const minVersionSchema: z.ZodType<TlsVersion, TlsVersion> = z.enum(["TLSv1.3", "TLSv1.2"]);

/** On both sides. */
export const defaultMinVersion: TlsVersion = "TLSv1.3";

export const ciphersSchema: z.ZodType<string, string> = z
  .string()
  .min(1, { error: "expected cipher names with colons between them, or leave the option out" });

/**
 * What is wrong with a choice of ciphers, or undefined. Names as in OpenSSL, with colons between: TLS 1.3 suites
 * (`TLS_AES_256_GCM_SHA384`) and TLS 1.2 ciphers (`ECDHE-ECDSA-AES256-GCM-SHA384`) in one list.
 */
export function ciphersProblem(ciphers: string, minVersion: TlsVersion): string | undefined {
  const names = ciphers.split(":");
  const suites = names.filter((name) => name.startsWith("TLS_"));
  const unknown = suites.find((name) => !getCiphers().includes(name.toLowerCase()));
  if (unknown !== undefined) return `unknown TLS 1.3 cipher suite ${unknown}`;
  // Level 0 allows ciphers without authentication and without encryption: it would turn verification off.
  if (/@SECLEVEL=0/i.test(ciphers)) return "@SECLEVEL=0 allows ciphers that protect nothing; remove it";
  if (minVersion === "TLSv1.3" && suites.length < names.length) {
    return 'with minVersion "TLSv1.3" only TLS 1.3 cipher suites (TLS_…) have an effect; remove the others, or allow "TLSv1.2"';
  }
  if (minVersion === "TLSv1.2" && suites.length === names.length) {
    return 'minVersion "TLSv1.2" needs a TLS 1.2 cipher in the list too; add one, or leave minVersion out';
  }
  return openSslProblem(ciphers, minVersion);
}

function openSslProblem(ciphers: string, minVersion: TlsVersion): string | undefined {
  try {
    createSecureContext({ ciphers, minVersion });
    return undefined;
  } catch (error) {
    return `OpenSSL does not know these ciphers (${error instanceof Error ? error.message : String(error)})`;
  }
}
