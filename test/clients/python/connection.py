"""How a server is reached: TLS with its CA, a token with each call, a certificate where there is one."""

import grpc

# Keeps a failing case from waiting for ever; no case takes as long on a busy machine.
deadline_seconds = 90


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Target:
    def __init__(self, run):
        self.calls = run["calls"]
        self.address = f"127.0.0.1:{run['port']}"
        tls = grpc.ssl_channel_credentials(
            root_certificates=read(run["ca"]),
            private_key=read(run["key"]) if "key" in run else None,
            certificate_chain=read(run["cert"]) if "cert" in run else None,
        )
        token = run.get("token")
        self.credentials = (
            tls if token is None else grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(token))
        )

    def channel(self, *options, compression=None):
        """A channel with a connection of its own: C-core shares connections between channels unless it is told not to."""
        return grpc.secure_channel(
            self.address,
            self.credentials,
            options=[("grpc.use_local_subchannel_pool", 1), *options],
            compression=compression,
        )
