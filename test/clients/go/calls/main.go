// Calls does what gRPC's interop cases leave out: large responses, cancellation, keepalive, large metadata. It prints one
// line of JSON: how many calls went well, and how the others failed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "google.golang.org/grpc/interop/grpc_testing"

	"palisade.invalid/clients/connection"
)

var (
	what     = flag.String("what", "", "unary, stream, chunks, cancel, deadline, keepalive or metadata")
	size     = flag.Int("size", 0, "bytes of a response, in all; of metadata for metadata")
	calls    = flag.Int("calls", 1, "how many calls")
	parallel = flag.Int("parallel", 1, "how many calls at the same time")
	reuse    = flag.Bool("reuse", false, "all calls on one connection, instead of each on a new one")
	lasting  = flag.Duration("lasting", 0, "how long a call is kept open for keepalive")
)

// How long any call may take: more than the slowest machine needs.
const patience = 90 * time.Second

// Bytes of a message of a response in chunks.
const chunk = 64 * 1024

// Bodies of responses may be as large as the server's own limit for what it sends.
const maxReceive = 8 * 1024 * 1024

type call func(context.Context, pb.TestServiceClient) error

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kinds := map[string]call{
		"unary":     unary,
		"stream":    stream,
		"chunks":    chunks,
		"cancel":    cancelled,
		"deadline":  overdue,
		"keepalive": keptOpen,
		"metadata":  echoed,
	}
	do, known := kinds[*what]
	if !known {
		log.Fatalf("no such thing to do: %q", *what)
	}
	report := doAll(ctx, do)
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		log.Fatal(err)
	}
}

type report struct {
	Ok       int            `json:"ok"`
	Failures map[string]int `json:"failures"`
}

func doAll(ctx context.Context, do call) report {
	connect := channels()
	result := report{Failures: map[string]int{}}
	var lock sync.Mutex
	var workers sync.WaitGroup
	turns := make(chan struct{}, *calls)
	for range *calls {
		turns <- struct{}{}
	}
	close(turns)
	for range *parallel {
		workers.Go(func() {
			for range turns {
				service, done := connect()
				err := do(ctx, service)
				done()
				lock.Lock()
				if err == nil {
					result.Ok++
				} else {
					result.Failures[err.Error()]++
				}
				lock.Unlock()
			}
		})
	}
	workers.Wait()
	return result
}

// channels says how a call gets its channel: a new one, or the one that all have.
func channels() func() (pb.TestServiceClient, func()) {
	if !*reuse {
		return func() (pb.TestServiceClient, func()) {
			channel := newChannel()
			return pb.NewTestServiceClient(channel), func() { channel.Close() }
		}
	}
	service := pb.NewTestServiceClient(newChannel())
	return func() (pb.TestServiceClient, func()) { return service, func() {} }
}

func newChannel() *grpc.ClientConn {
	options := []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive))}
	if *what == "keepalive" {
		often := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 30 * time.Second}
		options = append(options, grpc.WithKeepaliveParams(often))
	}
	channel, err := connection.New(options...)
	if err != nil {
		log.Fatal(err)
	}
	return channel
}

func unary(ctx context.Context, service pb.TestServiceClient) error {
	response, err := service.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(*size)})
	if err != nil {
		return err
	}
	return expectBytes(len(response.GetPayload().GetBody()))
}

// One message that has it all.
func stream(ctx context.Context, service pb.TestServiceClient) error {
	return receive(ctx, service, *size)
}

// Many messages.
func chunks(ctx context.Context, service pb.TestServiceClient) error {
	return receive(ctx, service, chunk)
}

func receive(ctx context.Context, service pb.TestServiceClient, most int) error {
	var parameters []*pb.ResponseParameters
	for left := *size; left > 0; left -= most {
		parameters = append(parameters, &pb.ResponseParameters{Size: int32(min(left, most))})
	}
	responses, err := service.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: parameters})
	if err != nil {
		return err
	}
	received := 0
	for {
		response, err := responses.Recv()
		if err == io.EOF {
			return expectBytes(received)
		}
		if err != nil {
			return err
		}
		received += len(response.GetPayload().GetBody())
	}
}

func expectBytes(received int) error {
	if received != *size {
		return fmt.Errorf("%d bytes came, instead of %d", received, *size)
	}
	return nil
}

// A call that has its first response at once, and waits for the second one longer than anybody does.
func slow(ctx context.Context, service pb.TestServiceClient) (grpc.ServerStreamingClient[pb.StreamingOutputCallResponse], error) {
	request := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{
		{Size: 1},
		{Size: 1, IntervalUs: int32((20 * time.Minute).Microseconds())},
	}}
	responses, err := service.StreamingOutputCall(ctx, request)
	if err != nil {
		return nil, err
	}
	_, err = responses.Recv()
	return responses, err
}

func cancelled(ctx context.Context, service pb.TestServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses, err := slow(ctx, service)
	if err != nil {
		return err
	}
	cancel()
	_, err = responses.Recv()
	return expectCode(err, codes.Canceled)
}

func overdue(ctx context.Context, service pb.TestServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	responses, err := slow(ctx, service)
	if err != nil {
		return err
	}
	_, err = responses.Recv()
	return expectCode(err, codes.DeadlineExceeded)
}

func expectCode(err error, want codes.Code) error {
	if got := status.Code(err); got != want {
		return fmt.Errorf("%v came, instead of %v: %w", got, want, err)
	}
	return nil
}

// Nothing is sent for so long that only pings tell whether the connection is alive.
func keptOpen(ctx context.Context, service pb.TestServiceClient) error {
	responses, err := service.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{
		ResponseParameters: []*pb.ResponseParameters{
			{Size: 1},
			{Size: 1, IntervalUs: int32(lasting.Microseconds())},
		},
	})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := responses.Recv(); err != nil {
			return err
		}
	}
	_, err = responses.Recv()
	if err != io.EOF {
		return err
	}
	return nil
}

// Half of it goes in a text field and half in a binary one; both come back.
func echoed(ctx context.Context, service pb.TestServiceClient) error {
	text := strings.Repeat("a", *size/2)
	ctx = metadata.AppendToOutgoingContext(ctx, "x-grpc-test-echo-initial", text)
	ctx = metadata.AppendToOutgoingContext(ctx, "x-grpc-test-echo-trailing-bin", strings.Repeat("\xab", *size*3/8))
	var header, trailer metadata.MD
	_, err := service.UnaryCall(ctx, &pb.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return err
	}
	if got := strings.Join(header.Get("x-grpc-test-echo-initial"), ""); got != text {
		return fmt.Errorf("%d bytes of text came back", len(got))
	}
	if got := strings.Join(trailer.Get("x-grpc-test-echo-trailing-bin"), ""); len(got) != *size*3/8 {
		return fmt.Errorf("%d binary bytes came back", len(got))
	}
	return nil
}
