import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.CompositeChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.okhttp.OkHttpChannelBuilder;
import io.grpc.util.CertificateUtils;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/** How a server is reached: TLS with its CA, a token with each call, a certificate where there is one. */
final class Target {
  private static final String host = "127.0.0.1";
  private final Client.Run run;

  Target(Client.Run run) {
    this.run = run;
  }

  /** How many calls of one size are made. */
  int calls() {
    return run.calls;
  }

  /** A channel with a connection of its own. */
  ManagedChannelBuilder<?> channel() throws IOException, GeneralSecurityException {
    switch (run.transport) {
      case "netty":
        return NettyChannelBuilder.forAddress(host, run.port, credentials());
      case "okhttp":
        return okHttp();
      case "okhttp with its default TLS":
        return OkHttpChannelBuilder.forAddress(host, run.port, credentials());
      default:
        throw new IllegalArgumentException("no transport: " + run.transport);
    }
  }

  private ChannelCredentials credentials() throws IOException {
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder().trustManager(new File(run.ca));
    if (run.cert != null) tls.keyManager(new File(run.cert), new File(run.key));
    return run.token == null
        ? tls.build()
        : CompositeChannelCredentials.create(tls.build(), new BearerToken(run.token));
  }

  /** Outside Android this transport speaks TLS 1.2 alone, unless versions and ciphers are named, which credentials cannot. */
  private ManagedChannelBuilder<?> okHttp() throws IOException, GeneralSecurityException {
    OkHttpChannelBuilder builder =
        OkHttpChannelBuilder.forAddress(host, run.port)
            .sslSocketFactory(socketFactory())
            .tlsConnectionSpec(new String[] {"TLSv1.3"}, new String[] {"TLS_AES_128_GCM_SHA256"});
    if (run.token == null) return builder;
    BearerToken token = new BearerToken(run.token);
    ClientInterceptor withToken =
        new ClientInterceptor() {
          @Override
          public <Q, A> ClientCall<Q, A> interceptCall(
              MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            return next.newCall(method, options.withCallCredentials(token));
          }
        };
    return builder.intercept(withToken);
  }

  private SSLSocketFactory socketFactory() throws IOException, GeneralSecurityException {
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    KeyStore authorities = emptyStore();
    authorities.setCertificateEntry("ca", certificates(run.ca)[0]);
    trust.init(authorities);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(run.cert == null ? null : keyManagers(), trust.getTrustManagers(), null);
    return context.getSocketFactory();
  }

  private KeyManager[] keyManagers() throws IOException, GeneralSecurityException {
    KeyStore own = emptyStore();
    try (InputStream key = new FileInputStream(run.key)) {
      own.setKeyEntry("own", CertificateUtils.getPrivateKey(key), new char[0], certificates(run.cert));
    }
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(own, new char[0]);
    return keys.getKeyManagers();
  }

  private static KeyStore emptyStore() throws IOException, GeneralSecurityException {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null);
    return store;
  }

  private static X509Certificate[] certificates(String path) throws IOException, GeneralSecurityException {
    try (InputStream pem = new FileInputStream(path)) {
      return CertificateUtils.getX509Certificates(pem);
    }
  }
}
