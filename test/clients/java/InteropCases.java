import io.grpc.ManagedChannelBuilder;
import io.grpc.testing.integration.AbstractInteropTest;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.util.LinkedHashMap;
import java.util.Map;

/** gRPC's own cases as grpc-java has them, on a channel of ours. */
final class InteropCases extends AbstractInteropTest {
  interface Method {
    void call(InteropCases test) throws Throwable;
  }

  static final Map<String, Method> byName = new LinkedHashMap<>();

  static {
    byName.put("empty_unary", AbstractInteropTest::emptyUnary);
    byName.put("empty_unary_with_retries", AbstractInteropTest::emptyUnaryWithRetriableStream);
    byName.put("large_unary", AbstractInteropTest::largeUnary);
    byName.put("client_streaming", AbstractInteropTest::clientStreaming);
    byName.put("server_streaming", AbstractInteropTest::serverStreaming);
    byName.put("ping_pong", AbstractInteropTest::pingPong);
    byName.put("empty_stream", AbstractInteropTest::emptyStream);
    byName.put("timeout_on_sleeping_server", AbstractInteropTest::timeoutOnSleepingServer);
    byName.put("cancel_after_begin", AbstractInteropTest::cancelAfterBegin);
    byName.put("cancel_after_first_response", AbstractInteropTest::cancelAfterFirstResponse);
    byName.put("custom_metadata", AbstractInteropTest::customMetadata);
    byName.put("unimplemented_method", AbstractInteropTest::unimplementedMethod);
    byName.put("unimplemented_service", AbstractInteropTest::unimplementedService);
    byName.put("gzip_unary", test -> test.clientCompressedUnary(false));
    byName.put("gzip_client_stream", test -> test.clientCompressedStreaming(false));
    byName.put("gzip_unary_response", AbstractInteropTest::serverCompressedUnary);
    byName.put("gzip_server_stream", AbstractInteropTest::serverCompressedStreaming);
    byName.put("full_duplex", AbstractInteropTest::fullDuplexCallShouldSucceed);
    byName.put("half_duplex", AbstractInteropTest::halfDuplexCallShouldSucceed);
    byName.put("very_large_request", AbstractInteropTest::veryLargeRequest);
    byName.put("very_large_response", AbstractInteropTest::veryLargeResponse);
    byName.put("deadline_not_exceeded", AbstractInteropTest::deadlineNotExceeded);
    byName.put("deadline_exceeded", AbstractInteropTest::deadlineExceeded);
    byName.put("deadline_exceeded_server_streaming", AbstractInteropTest::deadlineExceededServerStreaming);
    byName.put("deadline_in_past", AbstractInteropTest::deadlineInPast);
    byName.put("graceful_shutdown", AbstractInteropTest::gracefulShutdown);
  }

  static void perform(Target target, Method method) throws Throwable {
    InteropCases test = new InteropCases(target);
    test.setUp();
    try {
      method.call(test);
    } finally {
      test.tearDown();
    }
  }

  private final Target target;

  private InteropCases(Target target) {
    this.target = target;
  }

  @Override
  protected ManagedChannelBuilder<?> createChannelBuilder() {
    try {
      return target.channel();
    } catch (IOException | GeneralSecurityException error) {
      throw new IllegalStateException(error);
    }
  }

  /** Its metrics are not what is looked at. */
  @Override
  protected boolean metricsExpected() {
    return false;
  }

  @Override
  protected int operationTimeoutMillis() {
    return Cases.deadlineSeconds * 1000;
  }

  /** Below the 4 MiB that both sides allow by default. */
  @Override
  protected int unaryPayloadLength() {
    return 4_000_000;
  }
}
