// Authz serves a few methods behind grpc-go's authorization policies and calls them, and the same ones of another server, with
// client certificates of all kinds. It reads a line of JSON for each policy and answers it with one: what each call came to.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/authz"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// How long a call may take: more than the slowest machine needs.
const patience = 60 * time.Second

// How many calls are open at a time.
const parallel = 8

type attribute struct {
	Type  asn1.ObjectIdentifier `json:"type"`
	Value string                `json:"value"`
}

// A caller without any name has a certificate all the same, unless it has none.
type caller struct {
	Name          string      `json:"name"`
	Uris          []string    `json:"uris"`
	DNSNames      []string    `json:"dnsNames"`
	Subject       []attribute `json:"subject"`
	NoCertificate bool        `json:"noCertificate"`
}

type setup struct {
	Callers []caller `json:"callers"`
	// Those that end in "/List" are streams.
	Paths []string `json:"paths"`
}

type ready struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

type call struct {
	Caller  string      `json:"caller"`
	Path    string      `json:"path"`
	Headers [][2]string `json:"headers"`
}

type question struct {
	Policy string `json:"policy"`
	// The other server.
	Target string `json:"target"`
	Calls  []call `json:"calls"`
}

type answer struct {
	// Why grpc-go refuses the policy; empty where it does not.
	Refused string   `json:"refused"`
	Go      []string `json:"go"`
	Other   []string `json:"other"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64*1024*1024)
	answers := json.NewEncoder(os.Stdout)
	var order setup
	read(lines, &order)
	authority := newAuthority()
	cert, key := authority.issue(caller{DNSNames: []string{"localhost"}, Subject: []attribute{{asn1.ObjectIdentifier{2, 5, 4, 3}, "server"}}})
	policies := &policyHolder{}
	target := serve(authority, cert, key, policies, order.Paths)
	configs := map[string]*tls.Config{}
	for _, each := range order.Callers {
		configs[each.Name] = authority.clientConfig(each)
	}
	say(answers, ready{CA: authority.pem(), Cert: string(cert), Key: string(key)})
	channels := &channelPool{configs: configs, open: map[string]*grpc.ClientConn{}}
	for {
		var next question
		if !read(lines, &next) {
			return
		}
		result := answer{}
		if err := policies.use(next.Policy); err != nil {
			result.Refused = err.Error()
		} else {
			result.Go = callAll(channels, target, next.Calls)
			result.Other = callAll(channels, next.Target, next.Calls)
		}
		say(answers, result)
	}
}

func read(lines *bufio.Scanner, into any) bool {
	if !lines.Scan() {
		check(lines.Err())
		return false
	}
	check(json.Unmarshal(lines.Bytes(), into))
	return true
}

func say(answers *json.Encoder, what any) {
	check(answers.Encode(what))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// policyHolder is what the server's interceptors ask: the policy of the question that is being answered.
type policyHolder struct {
	current atomic.Pointer[authz.StaticInterceptor]
}

func (holder *policyHolder) use(policy string) (err error) {
	interceptor, err := authz.NewStatic(policy)
	if err == nil {
		holder.current.Store(interceptor)
	}
	return err
}

func (holder *policyHolder) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return holder.current.Load().UnaryInterceptor(ctx, request, info, handler)
}

func (holder *policyHolder) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return holder.current.Load().StreamInterceptor(service, stream, info, handler)
}

func serve(authority *authority, cert, key []byte, policies *policyHolder, paths []string) string {
	pair, err := tls.X509KeyPair(cert, key)
	check(err)
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    authority.roots(),
		ClientAuth:   tls.VerifyClientCertIfGiven,
		MinVersion:   tls.VersionTLS13,
	}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(config)),
		grpc.UnaryInterceptor(policies.unary),
		grpc.StreamInterceptor(policies.stream),
	)
	for name, service := range servicesOf(paths) {
		service.ServiceName = name
		server.RegisterService(service, struct{}{})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { check(server.Serve(listener)) }()
	return listener.Addr().String()
}

func servicesOf(paths []string) map[string]*grpc.ServiceDesc {
	services := map[string]*grpc.ServiceDesc{}
	for _, path := range paths {
		name, method, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		service := services[name]
		if service == nil {
			service = &grpc.ServiceDesc{HandlerType: (*any)(nil)}
			services[name] = service
		}
		if isStream(path) {
			service.Streams = append(service.Streams, grpc.StreamDesc{StreamName: method, Handler: streamHandler, ServerStreams: true})
		} else {
			service.Methods = append(service.Methods, grpc.MethodDesc{MethodName: method, Handler: unaryHandler(path)})
		}
	}
	return services
}

func isStream(path string) bool {
	return strings.HasSuffix(path, "/List")
}

func unaryHandler(path string) grpc.MethodHandler {
	return func(service any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		request := &pb.Empty{}
		if err := decode(request); err != nil {
			return nil, err
		}
		handler := func(context.Context, any) (any, error) { return &pb.Empty{}, nil }
		return interceptor(ctx, request, &grpc.UnaryServerInfo{Server: service, FullMethod: path}, handler)
	}
}

func streamHandler(_ any, stream grpc.ServerStream) error {
	return stream.SendMsg(&pb.Empty{})
}

// channelPool keeps a channel for each caller and server.
type channelPool struct {
	configs map[string]*tls.Config
	lock    sync.Mutex
	open    map[string]*grpc.ClientConn
}

func (pool *channelPool) channel(name, target string) *grpc.ClientConn {
	pool.lock.Lock()
	defer pool.lock.Unlock()
	key := name + " " + target
	if pool.open[key] == nil {
		config := pool.configs[name]
		if config == nil {
			log.Fatalf("no such caller: %q", name)
		}
		channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		check(err)
		pool.open[key] = channel
	}
	return pool.open[key]
}

func callAll(channels *channelPool, target string, calls []call) []string {
	results := make([]string, len(calls))
	turns := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i, each := range calls {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			results[i] = callOne(channels.channel(each.Caller, target), each)
		})
	}
	all.Wait()
	return results
}

func callOne(channel *grpc.ClientConn, call call) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, header := range call.Headers {
		ctx = metadata.AppendToOutgoingContext(ctx, header[0], header[1])
	}
	err := invoke(ctx, channel, call.Path)
	code := status.Code(err)
	if code == codes.OK || code == codes.PermissionDenied {
		return code.String()
	}
	return err.Error()
}

func invoke(ctx context.Context, channel *grpc.ClientConn, path string) error {
	if !isStream(path) {
		return channel.Invoke(ctx, path, &pb.Empty{}, &pb.Empty{}, grpc.WaitForReady(true))
	}
	stream, err := channel.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	// Whoever is refused may be so before it has sent all; what it receives says why.
	if err := stream.SendMsg(&pb.Empty{}); err != nil && err != io.EOF {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(&pb.Empty{}); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	issued      int64
}

func newAuthority() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Authorization policies' CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	certificate, err := x509.ParseCertificate(der)
	check(err)
	return &authority{certificate: certificate, key: key, issued: 1}
}

func (authority *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.certificate.Raw}))
}

func (authority *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	return pool
}

// Names go in as they are: the standard library would write some of them differently.
func (authority *authority) issue(names caller) (cert, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	authority.issued++
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(authority.issued),
		RawSubject:      subjectOf(names.Subject),
		NotBefore:       time.Now().Add(-time.Hour),
		NotAfter:        time.Now().Add(24 * time.Hour),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		ExtraExtensions: alternativeNames(names),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.certificate, private.Public(), authority.key)
	check(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func subjectOf(attributes []attribute) []byte {
	sequence := pkix.RDNSequence{}
	for _, each := range attributes {
		sequence = append(sequence, pkix.RelativeDistinguishedNameSET{{Type: each.Type, Value: each.Value}})
	}
	der, err := asn1.Marshal(sequence)
	check(err)
	return der
}

func alternativeNames(names caller) []pkix.Extension {
	var all []asn1.RawValue
	for _, uri := range names.Uris {
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)})
	}
	for _, name := range names.DNSNames {
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)})
	}
	if len(all) == 0 {
		return nil
	}
	value, err := asn1.Marshal(all)
	check(err)
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}
}

func (authority *authority) clientConfig(names caller) *tls.Config {
	config := &tls.Config{RootCAs: authority.roots(), ServerName: "localhost", MinVersion: tls.VersionTLS13}
	if names.NoCertificate {
		return config
	}
	cert, key := authority.issue(names)
	pair, err := tls.X509KeyPair(cert, key)
	check(err)
	config.Certificates = []tls.Certificate{pair}
	return config
}
