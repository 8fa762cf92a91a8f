// Package connection makes channels as its flags say: TLS, with a client certificate or a bearer token where they are given.
package connection

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

var (
	address = flag.String("address", "", "host:port of the server")
	ca      = flag.String("ca", "", "file of the roots that the server's certificate is verified against")
	cert    = flag.String("cert", "", "file of the client's certificate")
	key     = flag.String("key", "", "file of the client's private key")
	token   = flag.String("token", "", "bearer token that goes with each call")
)

// New makes a channel of its own connection.
func New(more ...grpc.DialOption) (*grpc.ClientConn, error) {
	roots, err := os.ReadFile(*ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	if !config.RootCAs.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("%s: no certificate in it", *ca)
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	if *token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(*token)))
	}
	return grpc.NewClient(*address, append(options, more...)...)
}

type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
