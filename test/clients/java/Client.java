import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Calls gRPC servers with grpc-java. Its argument is a file with a plan; it writes one line of JSON for each case. Plan and
 * lines are those of the Python client, and each run has a {@code transport}: {@code netty} or {@code okhttp}. Runs are made
 * side by side, the cases of a run one after another.
 */
public final class Client {
  private static final Gson gson = new Gson();

  private static final class Plan {
    List<Run> runs;
  }

  static final class Run {
    String name;
    int port;
    String transport;
    String ca;
    String cert;
    String key;
    String token;
    int calls;
    List<String> cases;
  }

  public static void main(String[] arguments) throws Exception {
    Plan plan = gson.fromJson(Files.readString(Path.of(arguments[0])), Plan.class);
    ExecutorService threads = Executors.newFixedThreadPool(plan.runs.size());
    List<Future<?>> running = new ArrayList<>();
    for (Run run : plan.runs) running.add(threads.submit(() -> performAll(run)));
    for (Future<?> run : running) run.get();
    System.exit(0);
  }

  private static void performAll(Run run) {
    for (String name : run.cases) {
      long started = System.nanoTime();
      JsonObject line = new JsonObject();
      line.addProperty("run", run.name);
      line.addProperty("case", name);
      try {
        Map<String, SeenStatus> answers = Cases.find(name).perform(new Target(run));
        line.addProperty("ok", true);
        if (!answers.isEmpty()) line.add("answers", gson.toJsonTree(answers));
      } catch (Throwable error) {
        line.addProperty("ok", false);
        line.addProperty("error", describe(error));
      }
      line.addProperty("ms", (System.nanoTime() - started) / 1_000_000);
      System.out.println(line);
    }
  }

  private static String describe(Throwable error) {
    StringBuilder text = new StringBuilder(error.toString());
    for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
      text.append("; because: ").append(cause);
    }
    for (StackTraceElement frame : error.getStackTrace()) {
      if (frame.getClassName().contains("interop") || frame.getClassName().contains("Cases")) {
        return text.append(" at ").append(frame).toString();
      }
    }
    return text.toString();
  }
}
