"""What is called, and what must come back. Most cases are gRPC's own: grpc/grpc, doc/interop-test-descriptions.md."""

import queue
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from connection import deadline_seconds

messages, services = grpc.protos_and_services("test.proto")
messages = grpc.protos("messages.proto")
Empty = grpc.protos("empty.proto").Empty

by_name = {}


def case(function):
    by_name[function.__name__] = function
    return function


def expect(actual, expected):
    if actual != expected:
        raise AssertionError(f"{actual!r} instead of {expected!r}")


def stub(channel):
    return services.TestServiceStub(channel)


def payload(size):
    return messages.Payload(body=bytes(size))


def unary_request(request_size, response_size):
    return messages.SimpleRequest(response_size=response_size, payload=payload(request_size))


def output_request(*response_sizes, request_size=0):
    return messages.StreamingOutputCallRequest(
        response_parameters=[messages.ResponseParameters(size=size) for size in response_sizes],
        payload=payload(request_size),
    )


def unary_call(channel, request_size, response_size, **options):
    response = stub(channel).UnaryCall(unary_request(request_size, response_size), timeout=deadline_seconds, **options)
    expect(len(response.payload.body), response_size)


def received_sizes(responses):
    return [len(response.payload.body) for response in responses]


def stream_call(channel, sizes, **options):
    responses = stub(channel).StreamingOutputCall(output_request(*sizes), timeout=deadline_seconds, **options)
    expect(received_sizes(responses), list(sizes))


def code_of(make_call):
    """The status with which a call ends."""
    try:
        make_call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


class Requests:
    """The request side of a stream that the case keeps open."""

    def __init__(self):
        self._waiting = queue.SimpleQueue()

    def send(self, request):
        self._waiting.put(request)

    def end(self):
        self._waiting.put(None)

    def __iter__(self):
        return iter(self._waiting.get, None)


request_sizes = (27182, 8, 1828, 45904)
response_sizes = (31415, 9, 2653, 58979)


@case
def empty_unary(target):
    with target.channel() as channel:
        expect(stub(channel).EmptyCall(Empty(), timeout=deadline_seconds), Empty())


@case
def large_unary(target):
    with target.channel() as channel:
        unary_call(channel, 271828, 314159)


def send_stream(channel):
    requests = (messages.StreamingInputCallRequest(payload=payload(size)) for size in request_sizes)
    response = stub(channel).StreamingInputCall(requests, timeout=deadline_seconds)
    expect(response.aggregated_payload_size, sum(request_sizes))


@case
def client_streaming(target):
    with target.channel() as channel:
        send_stream(channel)


@case
def server_streaming(target):
    with target.channel() as channel:
        stream_call(channel, response_sizes)


def play_ping_pong(channel):
    requests = Requests()
    responses = stub(channel).FullDuplexCall(iter(requests), timeout=deadline_seconds)
    for request_size, response_size in zip(request_sizes, response_sizes):
        requests.send(output_request(response_size, request_size=request_size))
        expect(len(next(responses).payload.body), response_size)
    requests.end()
    expect(list(responses), [])
    expect(responses.code(), grpc.StatusCode.OK)


@case
def ping_pong(target):
    with target.channel() as channel:
        play_ping_pong(channel)


@case
def empty_stream(target):
    with target.channel() as channel:
        responses = stub(channel).FullDuplexCall(iter(()), timeout=deadline_seconds)
        expect(list(responses), [])
        expect(responses.code(), grpc.StatusCode.OK)


@case
def timeout_on_sleeping_server(target):
    with target.channel() as channel:
        requests = Requests()
        responses = stub(channel).FullDuplexCall(iter(requests), timeout=0.001)
        requests.send(output_request(request_size=27182))
        expect(code_of(lambda: next(responses)), grpc.StatusCode.DEADLINE_EXCEEDED)
        requests.end()
        # A deadline of 1 ms may pass before a connection stands: once more on one that does.
        unary_call(channel, 1, 1)
        requests = Requests()
        responses = stub(channel).FullDuplexCall(iter(requests), timeout=0.1)
        requests.send(output_request(request_size=27182))
        expect(code_of(lambda: next(responses)), grpc.StatusCode.DEADLINE_EXCEEDED)
        requests.end()


@case
def cancel_after_begin(target):
    with target.channel() as channel:
        requests = Requests()
        call = stub(channel).StreamingInputCall.future(iter(requests), timeout=deadline_seconds)
        call.cancel()
        expect(call.code(), grpc.StatusCode.CANCELLED)
        requests.end()
        unary_call(channel, 1, 1)


@case
def cancel_after_first_response(target):
    with target.channel() as channel:
        requests = Requests()
        responses = stub(channel).FullDuplexCall(iter(requests), timeout=deadline_seconds)
        requests.send(output_request(31415, request_size=27182))
        expect(len(next(responses).payload.body), 31415)
        responses.cancel()
        expect(code_of(lambda: next(responses)), grpc.StatusCode.CANCELLED)
        requests.end()
        unary_call(channel, 1, 1)


@case
def custom_metadata(target):
    initial = ("x-grpc-test-echo-initial", "test_initial_metadata_value")
    trailing = ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab")
    sent = (initial, trailing)
    with target.channel() as channel:
        response, call = stub(channel).UnaryCall.with_call(
            unary_request(271828, 314159), metadata=sent, timeout=deadline_seconds
        )
        expect(len(response.payload.body), 314159)
        expect(dict(call.initial_metadata())[initial[0]], initial[1])
        expect(dict(call.trailing_metadata())[trailing[0]], trailing[1])
        responses = stub(channel).FullDuplexCall(
            iter([output_request(314159, request_size=271828)]), metadata=sent, timeout=deadline_seconds
        )
        expect(received_sizes(responses), [314159])
        expect(dict(responses.initial_metadata())[initial[0]], initial[1])
        expect(dict(responses.trailing_metadata())[trailing[0]], trailing[1])


def status_of(make_call):
    try:
        make_call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    return {"code": "OK", "details": ""}


def unknown(channel, path):
    method = channel.unary_unary(path, request_serializer=Empty.SerializeToString, response_deserializer=Empty.FromString)
    return method(Empty(), timeout=deadline_seconds)


unknown_method = "/grpc.testing.TestService/UnimplementedCall"
unknown_service = "/grpc.testing.UnimplementedService/UnimplementedCall"


@case
def unimplemented_method(target):
    with target.channel() as channel:
        expect(code_of(lambda: unknown(channel, unknown_method)), grpc.StatusCode.UNIMPLEMENTED)


@case
def unimplemented_service(target):
    with target.channel() as channel:
        expect(code_of(lambda: unknown(channel, unknown_service)), grpc.StatusCode.UNIMPLEMENTED)


@case
def status_code_and_message(target):
    """The text of UNKNOWN is for the test to judge."""
    status = messages.EchoStatus(code=2, message="test status message")
    with target.channel() as channel:
        return {
            "unary": status_of(
                lambda: stub(channel).UnaryCall(
                    messages.SimpleRequest(response_status=status), timeout=deadline_seconds
                )
            ),
            "bidi_stream": status_of(
                lambda: list(
                    stub(channel).FullDuplexCall(
                        iter([messages.StreamingOutputCallRequest(response_status=status)]), timeout=deadline_seconds
                    )
                )
            ),
        }


soak_calls = 10


@case
def rpc_soak(target):
    with target.channel() as channel:
        for _ in range(soak_calls):
            unary_call(channel, 271828, 314159)


@case
def channel_soak(target):
    for _ in range(soak_calls):
        with target.channel() as channel:
            unary_call(channel, 271828, 314159)


@case
def gzip_unary(target):
    with target.channel(compression=grpc.Compression.Gzip) as channel:
        for size in (1, 271828, 3_900_000):
            unary_call(channel, size, size)


@case
def gzip_streams(target):
    with target.channel(compression=grpc.Compression.Gzip) as channel:
        send_stream(channel)
        stream_call(channel, response_sizes)
        play_ping_pong(channel)


@case
def gzip_of_one_call(target):
    with target.channel() as channel:
        unary_call(channel, 271828, 314159)
        unary_call(channel, 271828, 314159, compression=grpc.Compression.Gzip)
        unary_call(channel, 271828, 314159, compression=grpc.Compression.Deflate)
        unary_call(channel, 271828, 314159)


def large_case(kind, size, call):
    def new_connections(target):
        for _ in range(target.calls):
            with target.channel() as channel:
                call(channel, size)

    def one_connection(target):
        with target.channel() as channel:
            for _ in range(target.calls):
                call(channel, size)

    def at_once(target):
        with target.channel() as channel, ThreadPoolExecutor(target.calls) as pool:
            for done in [pool.submit(call, channel, size) for _ in range(target.calls)]:
                done.result()

    by_name[f"{kind}_{size}_new_connections"] = new_connections
    by_name[f"{kind}_{size}_one_connection"] = one_connection
    by_name[f"{kind}_{size}_at_once"] = at_once


for large in (300_000, 1_000_000, 3_900_000):
    large_case("unary", large, lambda channel, size: unary_call(channel, 1, size))
    large_case("stream", large, lambda channel, size: stream_call(channel, (size, size)))


@case
def keepalive_every_10_seconds(target):
    """A stream on which nothing is sent but four pings, and which can be used after that."""
    with target.channel(
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
    ) as channel:
        requests = Requests()
        responses = stub(channel).FullDuplexCall(iter(requests), timeout=deadline_seconds)
        requests.send(output_request(9, request_size=8))
        expect(len(next(responses).payload.body), 9)
        try:
            time.sleep(45)
            requests.send(output_request(9, request_size=8))
            expect(len(next(responses).payload.body), 9)
        finally:
            requests.end()
        expect(list(responses), [])


@case
def name_override(target):
    """The certificate is checked for the name given, not for the address that was dialled."""
    with target.channel(("grpc.ssl_target_name_override", "localhost")) as channel:
        unary_call(channel, 1, 1)
    with target.channel(("grpc.ssl_target_name_override", "other.example")) as channel:
        expect(code_of(lambda: unary_call(channel, 1, 1)), grpc.StatusCode.UNAVAILABLE)


@case
def statuses(target):
    """How a call of each kind ends, and one to what does not exist: for the test to judge."""
    with target.channel() as channel:
        called = stub(channel)
        calls = {
            "unary": lambda: called.UnaryCall(unary_request(1, 1), timeout=deadline_seconds),
            "client_stream": lambda: send_stream(channel),
            "server_stream": lambda: stream_call(channel, (1,)),
            "bidi_stream": lambda: list(
                called.FullDuplexCall(iter([output_request(1)]), timeout=deadline_seconds)
            ),
            "unknown_method": lambda: unknown(channel, unknown_method),
            "unknown_service": lambda: unknown(channel, unknown_service),
        }
        return {kind: status_of(call) for kind, call in calls.items()}
