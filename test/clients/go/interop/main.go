// Interop runs one of gRPC's interop cases with a client certificate, which grpc-go's own interop client cannot present.
package main

import (
	"context"
	"flag"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"palisade.invalid/clients/connection"
)

var (
	testCase   = flag.String("case", "", "the name of the case")
	iterations = flag.Int("iterations", 10, "calls of a soak, in all")
	threads    = flag.Int("threads", 1, "how many of them at the same time")
)

func main() {
	flag.Parse()
	channel := newChannel()
	defer channel.Close()
	service := pb.NewTestServiceClient(channel)
	ctx := context.Background()
	cases := map[string]func(){
		"empty_unary":                 func() { interop.DoEmptyUnaryCall(ctx, service) },
		"large_unary":                 func() { interop.DoLargeUnaryCall(ctx, service) },
		"client_streaming":            func() { interop.DoClientStreaming(ctx, service) },
		"server_streaming":            func() { interop.DoServerStreaming(ctx, service) },
		"ping_pong":                   func() { interop.DoPingPong(ctx, service) },
		"empty_stream":                func() { interop.DoEmptyStream(ctx, service) },
		"timeout_on_sleeping_server":  func() { interop.DoTimeoutOnSleepingServer(ctx, service) },
		"cancel_after_begin":          func() { interop.DoCancelAfterBegin(ctx, service) },
		"cancel_after_first_response": func() { interop.DoCancelAfterFirstResponse(ctx, service) },
		"custom_metadata":             func() { interop.DoCustomMetadata(ctx, service) },
		"status_code_and_message":     func() { interop.DoStatusCodeAndMessage(ctx, service) },
		"special_status_message":      func() { interop.DoSpecialStatusMessage(ctx, service) },
		"unimplemented_method":        func() { interop.DoUnimplementedMethod(ctx, channel) },
		"unimplemented_service": func() {
			interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(channel))
		},
		"rpc_soak":     func() { soak(func() (*grpc.ClientConn, func()) { return channel, func() {} }) },
		"channel_soak": func() { soak(ownChannel) },
	}
	run, known := cases[*testCase]
	if !known {
		log.Fatalf("no such case: %q", *testCase)
	}
	run()
}

func newChannel() *grpc.ClientConn {
	channel, err := connection.New()
	if err != nil {
		log.Fatal(err)
	}
	return channel
}

func ownChannel() (*grpc.ClientConn, func()) {
	channel := newChannel()
	return channel, func() { channel.Close() }
}

// The sizes are those of grpc-go's interop client; the times are longer, for machines that are busy.
func soak(channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(context.Background(), interop.SoakTestConfig{
		RequestSize:                      271828,
		ResponseSize:                     314159,
		PerIterationMaxAcceptableLatency: 30 * time.Second,
		OverallTimeout:                   90 * time.Second,
		NumWorkers:                       *threads,
		Iterations:                       *iterations,
		ChannelForTest:                   channel,
	})
}
