import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.internal.testing.StreamRecorder;
import io.grpc.stub.StreamObserver;
import io.grpc.testing.integration.EmptyProtos.Empty;
import io.grpc.testing.integration.Messages.EchoStatus;
import io.grpc.testing.integration.Messages.Payload;
import io.grpc.testing.integration.Messages.ResponseParameters;
import io.grpc.testing.integration.Messages.SimpleRequest;
import io.grpc.testing.integration.Messages.StreamingInputCallRequest;
import io.grpc.testing.integration.Messages.StreamingInputCallResponse;
import io.grpc.testing.integration.Messages.StreamingOutputCallRequest;
import io.grpc.testing.integration.Messages.StreamingOutputCallResponse;
import io.grpc.testing.integration.TestServiceGrpc;
import io.grpc.testing.integration.TestServiceGrpc.TestServiceBlockingStub;
import io.grpc.testing.integration.TestServiceGrpc.TestServiceStub;
import io.grpc.testing.integration.UnimplementedServiceGrpc;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** What is called, and what must come back: gRPC's own interop cases, and more. */
final class Cases {
  /** A case that reports statuses leaves it to the test to judge them. */
  interface Case {
    Map<String, SeenStatus> perform(Target target) throws Throwable;
  }

  private interface Judged {
    void perform(Target target) throws Throwable;
  }

  private interface OnChannel {
    void perform(ManagedChannel channel) throws Exception;
  }

  /** Keeps a failing case from waiting for ever; no case takes as long on a busy machine. */
  static final int deadlineSeconds = 90;

  private static final int soakCalls = 10;
  private static final Map<String, Case> byName = new LinkedHashMap<>();

  static {
    InteropCases.byName.forEach((name, method) -> add(name, target -> InteropCases.perform(target, method)));
    add("rpc_soak", onChannel(channel -> times(soakCalls, () -> unaryCall(channel, 271828, 314159))));
    add(
        "channel_soak",
        target ->
            times(soakCalls, () -> withChannel(target.channel(), channel -> unaryCall(channel, 271828, 314159))));
    for (int size : List.of(300_000, 1_000_000, 3_900_000)) {
      addLarge("unary", size, channel -> unaryCall(channel, 1, size));
      addLarge("stream", size, channel -> streamCall(channel, size, size));
    }
    add("gzip_largest", onChannel(channel -> gzipCall(channel, 3_900_000)));
    add("keepalive_every_10_seconds", target -> keepAlive(target, 45));
    add("name_override", Cases::nameOverride);
    byName.put("status_code_and_message", Cases::statusCodeAndMessage);
    byName.put("statuses", Cases::statuses);
  }

  static Case find(String name) {
    Case found = byName.get(name);
    if (found == null) throw new IllegalArgumentException("no case: " + name);
    return found;
  }

  private static void add(String name, Judged judged) {
    byName.put(
        name,
        target -> {
          judged.perform(target);
          return Map.of();
        });
  }

  private static void addLarge(String kind, int size, OnChannel call) {
    String name = kind + "_" + size;
    add(
        name + "_new_connections",
        target -> times(target.calls(), () -> withChannel(target.channel(), call)));
    add(
        name + "_one_connection",
        target ->
            withChannel(target.channel(), channel -> times(target.calls(), () -> call.perform(channel))));
    add(
        name + "_at_once",
        target ->
            withChannel(target.channel(), channel -> atOnce(target.calls(), () -> call.perform(channel))));
  }

  private static Judged onChannel(OnChannel work) {
    return target -> withChannel(target.channel(), work);
  }

  private static void withChannel(ManagedChannelBuilder<?> builder, OnChannel work) throws Exception {
    ManagedChannel channel = builder.build();
    try {
      work.perform(channel);
    } finally {
      channel.shutdownNow();
      channel.awaitTermination(deadlineSeconds, TimeUnit.SECONDS);
    }
  }

  private static void times(int count, SeenStatus.Call call) throws Exception {
    for (int i = 0; i < count; i++) call.make();
  }

  private static void atOnce(int count, SeenStatus.Call call) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(count);
    try {
      List<Future<?>> running = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        running.add(
            threads.submit(
                () -> {
                  call.make();
                  return null;
                }));
      }
      for (Future<?> each : running) each.get();
    } finally {
      threads.shutdownNow();
    }
  }

  private static TestServiceBlockingStub blocking(ManagedChannel channel) {
    return TestServiceGrpc.newBlockingStub(channel).withDeadlineAfter(deadlineSeconds, TimeUnit.SECONDS);
  }

  private static TestServiceStub stub(ManagedChannel channel) {
    return TestServiceGrpc.newStub(channel).withDeadlineAfter(2 * deadlineSeconds, TimeUnit.SECONDS);
  }

  private static Payload payload(int size) {
    return Payload.newBuilder().setBody(ByteString.copyFrom(new byte[size])).build();
  }

  private static SimpleRequest unaryRequest(int requestSize, int responseSize) {
    return SimpleRequest.newBuilder().setPayload(payload(requestSize)).setResponseSize(responseSize).build();
  }

  private static StreamingOutputCallRequest outputRequest(int... sizes) {
    StreamingOutputCallRequest.Builder request = StreamingOutputCallRequest.newBuilder();
    for (int size : sizes) request.addResponseParameters(ResponseParameters.newBuilder().setSize(size));
    return request.build();
  }

  private static void unaryCall(ManagedChannel channel, int requestSize, int responseSize) {
    int received =
        blocking(channel).unaryCall(unaryRequest(requestSize, responseSize)).getPayload().getBody().size();
    assertEquals(responseSize, received);
  }

  private static void gzipCall(ManagedChannel channel, int size) {
    TestServiceBlockingStub compressing = blocking(channel).withCompression("gzip");
    assertEquals(size, compressing.unaryCall(unaryRequest(size, size)).getPayload().getBody().size());
  }

  private static void streamCall(ManagedChannel channel, int... sizes) {
    Iterator<StreamingOutputCallResponse> responses =
        blocking(channel).streamingOutputCall(outputRequest(sizes));
    for (int size : sizes) assertEquals(size, responses.next().getPayload().getBody().size());
    assertTrue("more responses than asked for", !responses.hasNext());
  }

  /** A stream on which nothing is sent but pings, and which can be used after that. */
  private static void keepAlive(Target target, int seconds) throws Exception {
    withChannel(
        target.channel().keepAliveTime(10, TimeUnit.SECONDS).keepAliveTimeout(20, TimeUnit.SECONDS),
        channel -> {
          StreamRecorder<StreamingOutputCallResponse> responses = StreamRecorder.create();
          StreamObserver<StreamingOutputCallRequest> requests = stub(channel).fullDuplexCall(responses);
          requests.onNext(outputRequest(9));
          responses.firstValue().get(deadlineSeconds, TimeUnit.SECONDS);
          boolean ended = responses.awaitCompletion(seconds, TimeUnit.SECONDS);
          assertTrue("the stream ended: " + responses.getError(), !ended);
          requests.onNext(outputRequest(9));
          requests.onCompleted();
          completed(responses);
          assertEquals(2, responses.getValues().size());
        });
  }

  private static void completed(StreamRecorder<?> responses) throws Exception {
    assertTrue("no end", responses.awaitCompletion(deadlineSeconds, TimeUnit.SECONDS));
    if (responses.getError() != null) throw new AssertionError(responses.getError());
  }

  /** The certificate is checked for the name given, not for the address that was dialled. */
  private static void nameOverride(Target target) throws Exception {
    withChannel(target.channel().overrideAuthority("localhost"), channel -> unaryCall(channel, 1, 1));
    withChannel(
        target.channel().overrideAuthority("other.example"),
        channel ->
            assertEquals(
                Status.Code.UNAVAILABLE.name(), SeenStatus.of(() -> unaryCall(channel, 1, 1)).code()));
  }

  private static void sendStream(ManagedChannel channel) throws Exception {
    StreamRecorder<StreamingInputCallResponse> response = StreamRecorder.create();
    StreamObserver<StreamingInputCallRequest> requests = stub(channel).streamingInputCall(response);
    requests.onNext(StreamingInputCallRequest.newBuilder().setPayload(payload(1)).build());
    requests.onCompleted();
    ended(response);
  }

  private static void fullDuplex(ManagedChannel channel, StreamingOutputCallRequest request) throws Exception {
    StreamRecorder<StreamingOutputCallResponse> responses = StreamRecorder.create();
    StreamObserver<StreamingOutputCallRequest> requests = stub(channel).fullDuplexCall(responses);
    requests.onNext(request);
    requests.onCompleted();
    ended(responses);
  }

  private static void ended(StreamRecorder<?> responses) throws Exception {
    assertTrue("no end", responses.awaitCompletion(deadlineSeconds, TimeUnit.SECONDS));
    if (responses.getError() != null) throw Status.fromThrowable(responses.getError()).asException();
  }

  private static Map<String, SeenStatus> statusCodeAndMessage(Target target) throws Exception {
    EchoStatus status =
        EchoStatus.newBuilder().setCode(Status.Code.UNKNOWN.value()).setMessage("test status message").build();
    Map<String, SeenStatus> seen = new LinkedHashMap<>();
    withChannel(
        target.channel(),
        channel -> {
          SimpleRequest unary = SimpleRequest.newBuilder().setResponseStatus(status).build();
          StreamingOutputCallRequest streamed =
              StreamingOutputCallRequest.newBuilder().setResponseStatus(status).build();
          seen.put("unary", SeenStatus.of(() -> blocking(channel).unaryCall(unary)));
          seen.put("bidi_stream", SeenStatus.of(() -> fullDuplex(channel, streamed)));
        });
    return seen;
  }

  /** How a call of each kind ends, and one to what does not exist. */
  private static Map<String, SeenStatus> statuses(Target target) throws Exception {
    Map<String, SeenStatus> seen = new LinkedHashMap<>();
    Empty empty = Empty.getDefaultInstance();
    withChannel(
        target.channel(),
        channel -> {
          seen.put("unary", SeenStatus.of(() -> unaryCall(channel, 1, 1)));
          seen.put("client_stream", SeenStatus.of(() -> sendStream(channel)));
          seen.put("server_stream", SeenStatus.of(() -> streamCall(channel, 1)));
          seen.put("bidi_stream", SeenStatus.of(() -> fullDuplex(channel, outputRequest(1))));
          seen.put("unknown_method", SeenStatus.of(() -> blocking(channel).unimplementedCall(empty)));
          seen.put(
              "unknown_service",
              SeenStatus.of(() -> UnimplementedServiceGrpc.newBlockingStub(channel).unimplementedCall(empty)));
        });
    return seen;
  }

  private Cases() {}
}
