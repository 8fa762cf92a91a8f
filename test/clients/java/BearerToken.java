import io.grpc.CallCredentials;
import io.grpc.Metadata;
import java.util.concurrent.Executor;

/** A token that goes with each call. */
final class BearerToken extends CallCredentials {
  private final Metadata headers = new Metadata();

  BearerToken(String token) {
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
  }

  @Override
  public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
    applier.apply(headers);
  }
}
