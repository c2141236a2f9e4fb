package example;

import com.google.gson.Gson;
import com.google.rpc.ErrorInfo;
import com.sun.net.httpserver.Filter;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Supplier;
import tokenregistry.v1.AddRefreshTokenRequest;
import tokenregistry.v1.CheckSessionRequest;
import tokenregistry.v1.ClientInfo;
import tokenregistry.v1.CreateUserRequest;
import tokenregistry.v1.DeleteUserRequest;
import tokenregistry.v1.RevocationReason;
import tokenregistry.v1.RevokeSessionRequest;
import tokenregistry.v1.RotateRefreshTokenRequest;
import tokenregistry.v1.TokenState;
import tokenregistry.v1.UserServiceGrpc;
import tokenregistry.v1.UserServiceGrpc.UserServiceBlockingStub;
import tokenregistry.v1.WhitelistServiceGrpc;
import tokenregistry.v1.WhitelistServiceGrpc.WhitelistServiceBlockingStub;

/**
 * Recipes for a login service: connect, log in, refresh, log out, and check the session of every request.
 *
 * <p>{@link Client} runs {@link #tryItAll}, so that docs/cookbook-java.md, which shows the recipes, shows what works.
 */
final class Cookbook {
  private Cookbook() {}

  /** The one channel of a process. The service config has the deadlines and what is retried. */
  static ManagedChannel connect(String address, Map<String, ?> serviceConfig) {
    return Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
        .defaultServiceConfig(serviceConfig)
        .enableRetry()
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .build();
  }

  @SuppressWarnings("unchecked")
  static Map<String, ?> serviceConfig(Path file) throws IOException {
    return new Gson().fromJson(Files.readString(file), Map.class);
  }

  /** The person has to log in again; the message says why. */
  static final class LoginRequired extends RuntimeException {
    LoginRequired(String why) {
      super(why);
    }
  }

  /** The registry can't answer now. */
  static final class TryLater extends RuntimeException {}

  /** Makes a call. What a refusal means is decided by code and reason; the status's text is for people. */
  static <T> T judged(Supplier<T> call) {
    try {
      return call.get();
    } catch (StatusRuntimeException e) {
      Status.Code code = e.getStatus().getCode();
      if (code == Status.Code.UNAVAILABLE || code == Status.Code.DEADLINE_EXCEEDED) {
        throw new TryLater();
      }
      if (code == Status.Code.NOT_FOUND || code == Status.Code.FAILED_PRECONDITION) {
        Optional<ErrorInfo> info = Client.detail(e, ErrorInfo.class);
        if (info.isPresent() && info.get().getDomain().equals("tokenregistry.v1")) {
          throw new LoginRequired(info.get().getReason());
        }
      }
      throw e; // not the person's fault: a bug, or this service may not call that
    }
  }

  /** What goes into a refresh token as the claims sub, sid and jti. */
  record Login(String userId, String session, String jti) {}

  record Sessions(UserServiceBlockingStub users, WhitelistServiceBlockingStub whitelist) {
    static Sessions on(ManagedChannel channel) {
      return new Sessions(
          UserServiceGrpc.newBlockingStub(channel), WhitelistServiceGrpc.newBlockingStub(channel));
    }

    Login logIn(String userId, BooleanSupplier passwordIsRight, ClientInfo client) {
      // Read before the password is judged: if it is changed meanwhile, this login fails.
      var create = CreateUserRequest.newBuilder().setUserId(userId).build();
      var user = judged(() -> users.createUser(create)).getUser();
      if (!passwordIsRight.getAsBoolean()) {
        throw new LoginRequired("wrong password");
      }
      var login = new Login(userId, Client.newId(), Client.newId());
      var add =
          AddRefreshTokenRequest.newBuilder()
              .setUserId(userId)
              .setSession(login.session)
              .setJti(login.jti)
              .setCredentialVersion(user.getCredentialVersion())
              .setClient(client)
              .build();
      judged(() -> whitelist.addRefreshToken(add));
      return login;
    }

    /** Of a refresh token whose signature and expiry are right: the claims of its successor. */
    Login refresh(Login presented) {
      var rotation =
          RotateRefreshTokenRequest.newBuilder()
              .setUserId(presented.userId)
              .setSession(presented.session)
              .setJti(presented.jti)
              .setNewJti(Client.newId()) // makes the retry of a lost answer safe
              .build();
      var answer = judged(() -> whitelist.rotateRefreshToken(rotation));
      // Sign the jti of the answer, never newJti: of two refreshes at once both get the same.
      return new Login(presented.userId, presented.session, answer.getToken().getJti());
    }

    void logOut(String userId, String session) {
      var revocation =
          RevokeSessionRequest.newBuilder()
              .setUserId(userId)
              .setSession(session)
              .setReason(RevocationReason.REVOCATION_REASON_LOGOUT)
              .build();
      judged(() -> whitelist.revokeSession(revocation));
    }

    boolean isLive(String userId, String session) {
      var question = CheckSessionRequest.newBuilder().setUserId(userId).setSession(session).build();
      // Nothing else permits anything, a state that these classes don't know neither.
      return judged(() -> whitelist.checkSession(question)).getState() == TokenState.TOKEN_STATE_ACTIVE;
    }
  }

  /** The claims of an access token. */
  record Claims(String sub, String sid) {}

  /** A filter of the JDK's web server. {@code claimsOf} verifies the access token of a request. */
  static Filter requireSession(Sessions sessions, Function<HttpExchange, Optional<Claims>> claimsOf) {
    return new Filter() {
      @Override
      public void doFilter(HttpExchange exchange, Chain chain) throws IOException {
        var claims = claimsOf.apply(exchange);
        boolean allowed;
        try {
          allowed = claims.isPresent() && sessions.isLive(claims.get().sub, claims.get().sid);
        } catch (TryLater e) { // fail closed
          exchange.getResponseHeaders().set("Retry-After", "1");
          exchange.sendResponseHeaders(503, -1);
          return;
        }
        if (allowed) {
          chain.doFilter(exchange);
        } else {
          exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer");
          exchange.sendResponseHeaders(401, -1);
        }
      }

      @Override
      public String description() {
        return "lets live sessions pass";
      }
    };
  }

  static void tryItAll(String address) throws IOException, InterruptedException {
    String file = System.getenv().getOrDefault("SERVICE_CONFIG", "../service_config.json");
    var config = serviceConfig(Path.of(file));
    var channel = connect(address, config);
    var silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
    var toNobody = connect("127.0.0.1:" + silent.getLocalPort(), config);
    try {
      var sessions = Sessions.on(channel);
      var userId = "java-" + Client.newId();
      var client = ClientInfo.newBuilder().setUserAgent("curl/8.5.0").setIp("192.0.2.7").build();
      expectLogin("wrong password", () -> sessions.logIn(userId, () -> false, client));
      var first = sessions.logIn(userId, () -> true, client);
      var claims = new Claims(userId, first.session);
      Client.expect("a live session", statusOf(sessions, claims), 200);
      var second = sessions.refresh(first);
      Client.expect("another jti", second.equals(first), false);
      // Two tabs refresh at once: both are to sign the same jti.
      Client.expect("the same jti", sessions.refresh(first), second);
      // A registry that never answers: the deadline is that of the service config.
      Client.expect("a silent registry", statusOf(Sessions.on(toNobody), claims), 503);
      sessions.logOut(userId, first.session);
      Client.expect("after logout", statusOf(sessions, claims), 401);
      expectLogin("SESSION_REVOKED", () -> sessions.refresh(second));
      sessions.users.deleteUser(DeleteUserRequest.newBuilder().setUserId(userId).build());
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
      toNobody.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
      silent.close();
    }
    System.out.println("cookbook: login, refresh, logout, check");
  }

  private static void expectLogin(String why, Supplier<Login> call) {
    String got = "nothing";
    try {
      call.get();
    } catch (LoginRequired e) {
      got = e.getMessage();
    }
    Client.expect("a login is required", got, why);
  }

  /** What a web server behind the filter answers. */
  private static int statusOf(Sessions sessions, Claims claims) throws IOException, InterruptedException {
    var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    var context = server.createContext("/", exchange -> exchange.sendResponseHeaders(200, -1));
    context.getFilters().add(requireSession(sessions, exchange -> Optional.of(claims)));
    server.start();
    try {
      var uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
      var request = HttpRequest.newBuilder(uri).build();
      return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
    } finally {
      server.stop(0);
    }
  }
}
