// Refuses calls whose forwarded client certificate cannot be believed: a credential that was presented is never
// passed over as if there were none.
import { status } from "@grpc/grpc-js";
import type { Middleware } from "../chain/middleware.ts";
import { StatusError } from "../grpc/errors.ts";
import { texts } from "../grpc/status.ts";
import { hasUnreadableCertificate } from "../tls/forwarded-certificate.ts";

/** For `{ plaintext: "mesh" }` alone. Comes before everything that counts or verifies by peer. */
export function forwardedCertificateCheck(): Middleware {
  return {
    name: "forwarded_certificate",
    onCall(call) {
      if (!hasUnreadableCertificate(call.peer)) return;
      throw new StatusError(status.UNAUTHENTICATED, texts.invalidCredentials, {
        cause: new Error(
          "x-forwarded-client-cert: expired, or not in Envoy's format with Hash in its last element",
        ),
      });
    },
  };
}
