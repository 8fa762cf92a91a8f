import io.grpc.Status;

/** How a call ended, as the caller saw it. */
record SeenStatus(String code, String details) {
  static SeenStatus of(Call call) {
    try {
      call.make();
      return new SeenStatus("OK", "");
    } catch (Throwable error) {
      Status status = Status.fromThrowable(error);
      return new SeenStatus(status.getCode().name(), status.getDescription() == null ? "" : status.getDescription());
    }
  }

  interface Call {
    void make() throws Exception;
  }
}
