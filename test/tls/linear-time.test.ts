// The time of parsers whose text a caller chooses (L11).
import { it } from "vitest";
import type { Peer } from "../../src/grpc/peer.ts";
import { forwardedCertificate, forwardedPeers } from "../../src/tls/forwarded-certificate.ts";
import { identityFrom, onlyPlain, parseSubjectAltName } from "../../src/tls/peer-certificate.ts";
import { expectLinearTime, type Parsers } from "../harness/linear-time.ts";

const proxy: Peer = { address: "127.0.0.1", port: 1, secure: true, certificate: undefined };
const behindMesh = forwardedPeers();
const hash = "46".repeat(32);

const parsers: Parsers = {
  "the forwarded certificate": forwardedCertificate,
  "its subject": (text) => forwardedCertificate(`Hash=${hash};Subject="${text}"`),
  "its escaped subject": (text) =>
    forwardedCertificate(`Hash=${hash};Subject="CN=${text.replaceAll(/["\\]/g, "\\$&")}"`),
  "its URI": (text) => forwardedCertificate(`Hash=${hash};URI=${text}`),
  "its DNS name": (text) => forwardedCertificate(`Hash=${hash};DNS="${text}"`),
  "its encoded certificate": (text) => forwardedCertificate(`Hash=${hash};Cert="${text}"`),
  "its hash": (text) => forwardedCertificate(`Hash=${text}`),
  "the peer behind a sidecar": (text) => behindMesh(proxy, text),
  "alternative names of a certificate": parseSubjectAltName,
  "the name in a certificate": (text) =>
    [onlyPlain([text]), identityFrom({ uris: [], dnsNames: [] }, [text])] as const,
};

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
