// What a port of the server is: encrypted, for this machine alone, or behind a mesh; and so who may connect.
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { ServerCredentials } from "@grpc/grpc-js";
import type { PeerOf } from "../chain/plan.ts";
import { withoutMapping } from "../config/address-set.ts";
import { isLoopbackAddress, isLoopbackTarget } from "../config/loopback.ts";
import type { CertificateReporting } from "../tls/certificate-reporting.ts";
import { ClientCertificates, type RefusedCertificate } from "../tls/client-certificates.ts";
import { forwardedPeers } from "../tls/forwarded-certificate.ts";
import { TlsServerCredentials } from "../tls/server-credentials.ts";
import type { ClientAuth, ServerPlaintextSettings, ServerTlsSettings } from "../tls/server-tls-options.ts";
import type { RefusedConnection } from "../transport/connections.ts";

export interface ListeningPort {
  readonly credentials: ServerCredentials;
  /** What is spoken on it and who may connect, for the log: `TLSv1.3, client certificates required`. */
  readonly description: string;
  /** Who calls, where it is not the connection's peer. */
  readonly peerOf: PeerOf | undefined;
  /** Why a connection is refused before any HTTP/2 is spoken on it. */
  readonly refuse: (socket: Socket) => RefusedConnection | undefined;
  /** Why an open connection is closed now. Asked after `onChange`. */
  readonly refuseOpen: (socket: Socket) => RefusedConnection | undefined;
  /** Calls `listener` when open connections are to be looked at again. */
  onChange(listener: () => void): void;
  /** May the server be asked to listen there? */
  mayListen(address: string): boolean;
  /** And may that be what it came to: an IP address, or `unix`? */
  mayBeBound(address: string): boolean;
  /** Ends the watch on certificate files and revocations. An own source of revocations may throw. */
  close(): void;
}

export function listeningPort(
  tls: ServerTlsSettings | ServerPlaintextSettings,
  reporting: CertificateReporting,
): ListeningPort {
  switch (tls.plaintext) {
    case undefined:
      return encrypted(tls, reporting);
    case "loopback":
      return loopbackOnly;
    case "mesh":
      return behindMesh(tls);
  }
}

const clientCertificates: Readonly<Record<ClientAuth, string>> = {
  none: "no client certificates",
  request: "client certificates requested",
  require: "client certificates required",
};

const anywhere = { mayListen: () => true, mayBeBound: () => true };

/** Without certificates nothing changes for a connection that is open. */
const unchanging = { refuseOpen: () => undefined, onChange: () => {} };

function encrypted(tls: ServerTlsSettings, reporting: CertificateReporting): ListeningPort {
  const credentials = new TlsServerCredentials(tls, reporting);
  const revocations = tls.crl;
  const certificates = new ClientCertificates({ roots: () => credentials.roots, revocations });
  credentials.onRootsChange(() => certificates.rootsChanged());
  let unsubscribe: (() => void) | undefined;
  return {
    ...anywhere,
    credentials,
    description: `${tls.minVersion === "TLSv1.2" ? "TLSv1.2 or later" : "TLSv1.3"}, ${clientCertificates[credentials.clientAuth]}`,
    peerOf: undefined,
    refuse: (socket) => ofCertificate(socket, (tlsSocket) => certificates.refuseNew(tlsSocket)),
    refuseOpen: (socket) => ofCertificate(socket, (tlsSocket) => certificates.refuseOpen(tlsSocket)),
    onChange: (listener) => {
      credentials.onRootsChange(listener);
      unsubscribe = revocations?.onChange?.(listener);
    },
    close: () => {
      credentials.stopWatching();
      unsubscribe?.();
      revocations?.close?.();
    },
  };
}

function ofCertificate(
  socket: Socket,
  refuse: (socket: TLSSocket) => RefusedCertificate | undefined,
): RefusedConnection | undefined {
  const refused = socket instanceof TLSSocket ? refuse(socket) : undefined;
  return refused === undefined ? undefined : { reason: "certificate", ...refused };
}

/** The connection's own address counts, whatever was bound: between the binding and the look at it somebody may connect. */
const loopbackOnly: ListeningPort = {
  ...unchanging,
  credentials: ServerCredentials.createInsecure(),
  description: "plaintext, from this machine only",
  peerOf: undefined,
  refuse: ({ localAddress }) =>
    localAddress === undefined || isLoopbackAddress(withoutMapping(localAddress))
      ? undefined
      : {
          reason: "untrusted_peer",
          detail: `the connection reached ${localAddress}, which is not a loopback address`,
        },
  mayListen: /* protection: loopback-only */ isLoopbackTarget,
  mayBeBound: (address) => address === "unix" || isLoopbackAddress(address),
  close: () => {},
};

function behindMesh({
  trustForwardedClientCertFrom: trusted,
}: Extract<ServerPlaintextSettings, { plaintext: "mesh" }>): ListeningPort {
  return {
    ...anywhere,
    ...unchanging,
    credentials: ServerCredentials.createInsecure(),
    description: "plaintext, from tls.trustForwardedClientCertFrom only",
    peerOf: forwardedPeers(),
    refuse: (socket) =>
      /* protection: mesh-peers */ trusted.has(addressOf(socket))
        ? undefined
        : { reason: "untrusted_peer", detail: "not in tls.trustForwardedClientCertFrom" },
    close: () => {},
  };
}

/** A Unix socket has no addresses. A TCP socket that is gone already has no remote one, and still a local one or none. */
function addressOf(socket: Socket): string {
  if (socket.remoteAddress !== undefined) return socket.remoteAddress;
  return socket.destroyed || socket.localAddress !== undefined ? "unknown" : "unix";
}
