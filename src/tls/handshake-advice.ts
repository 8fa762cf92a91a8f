// Why a TLS connection to a server failed, in words that say what to do: OpenSSL's own name neither option nor side.

const untrusted =
  "the server's certificate is not signed by a CA that this client trusts; give the CA that signed it as tls.ca";
const refused =
  "the server refuses this client's certificate; give one from a CA that the server trusts, not expired and not revoked, " +
  "as tls.cert and tls.key";

/** By Node's and OpenSSL's codes. */
const advice: ReadonlyMap<string, string> = new Map([
  ["SELF_SIGNED_CERT_IN_CHAIN", untrusted],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", untrusted],
  ["UNABLE_TO_GET_ISSUER_CERT", untrusted],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", untrusted],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", untrusted],
  ["CERT_SIGNATURE_FAILURE", untrusted],
  ["CERT_HAS_EXPIRED", "the server's certificate has expired; renew it there, or check this machine's clock"],
  ["CERT_NOT_YET_VALID", "the server's certificate is not valid yet; check this machine's clock"],
  [
    "ERR_TLS_CERT_ALTNAME_INVALID",
    "the server's certificate is for another name; connect by a name that it carries, or give that as tls.serverName",
  ],
  [
    "ERR_SSL_WRONG_VERSION_NUMBER",
    "the server does not speak TLS on this port; use its TLS port, or tls.plaintext where that is meant",
  ],
  ["ERR_SSL_PACKET_LENGTH_TOO_LONG", "the server does not speak TLS on this port; use its TLS port"],
  [
    "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
    'the server speaks no version of TLS that this client accepts; update it, or allow tls.minVersion "TLSv1.2"',
  ],
  [
    "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    "the server speaks TLS, but not HTTP/2; is it a gRPC server?",
  ],
  [
    "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "the server wants a client certificate; give tls.cert and tls.key",
  ],
  ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", refused],
  ["ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE", refused],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED", refused],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN", refused],
]);

/**
 * Puts before the error's message what is wrong and what to do, where that is known. grpc-js shows the message to callers,
 * in the details of UNAVAILABLE. The error stays the object that it is: whoever listens after us shows it.
 */
export function advise(error: unknown): void {
  if (!(error instanceof Error && "code" in error && typeof error.code === "string")) return;
  const known = advice.get(error.code);
  if (known === undefined || error.message.startsWith(known)) return;
  error.message = `${known} (${error.message.trim()})`;
}

/** For a connection that the server closes right after the handshake, and does not say why. */
export function closedAtOnce(): Error {
  const message =
    "the server closed the connection right after the TLS handshake: it may refuse this client's certificate; " +
    "check that tls.cert and tls.key are from a CA that the server trusts, and not revoked, and see the server's log";
  // What grpc-js takes for a lost connection.
  return Object.assign(new Error(message), { code: "ECONNRESET" });
}
