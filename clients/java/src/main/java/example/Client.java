package example;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.security.SecureRandom;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import tokenregistry.v1.AddRefreshTokenRequest;
import tokenregistry.v1.CheckSessionRequest;
import tokenregistry.v1.ClientInfo;
import tokenregistry.v1.ConsumeGenericTokenRequest;
import tokenregistry.v1.CreateUserRequest;
import tokenregistry.v1.DeleteUserRequest;
import tokenregistry.v1.GenericTokenServiceGrpc;
import tokenregistry.v1.GetUserRequest;
import tokenregistry.v1.IssueGenericTokenRequest;
import tokenregistry.v1.ListRefreshTokensRequest;
import tokenregistry.v1.RefreshToken;
import tokenregistry.v1.RevokeCredentialsRequest;
import tokenregistry.v1.RotateRefreshTokenRequest;
import tokenregistry.v1.RotationOutcome;
import tokenregistry.v1.TokenState;
import tokenregistry.v1.UserServiceGrpc;
import tokenregistry.v1.WhitelistServiceGrpc;

/**
 * A walk through the token registry, in the order in which a login service would call it.
 *
 * <p>Usage: {@code java -jar target/token-registry-client.jar [ADDRESS]} (default 127.0.0.1:50051)
 */
public final class Client {
  private static final String DOMAIN = "tokenregistry.v1";
  private static final String LAPTOP =
      "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
  private static final String PHONE =
      "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
          + " Version/17.5 Mobile/15E148 Safari/604.1";
  private static final SecureRandom RANDOM = new SecureRandom();

  private final UserServiceGrpc.UserServiceBlockingStub users;
  private final WhitelistServiceGrpc.WhitelistServiceBlockingStub sessions;
  private final GenericTokenServiceGrpc.GenericTokenServiceBlockingStub oneTime;

  private Client(Channel channel) {
    users = UserServiceGrpc.newBlockingStub(channel);
    sessions = WhitelistServiceGrpc.newBlockingStub(channel);
    oneTime = GenericTokenServiceGrpc.newBlockingStub(channel);
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    String address = args.length > 0 ? args[0] : "127.0.0.1:50051";
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
            .intercept(new Deadline())
            .build();
    try {
      new Client(channel).walk();
      Cookbook.tryItAll(address);
      System.out.println("java: ok");
    } catch (Mismatch | Cookbook.LoginRequired | Cookbook.TryLater | StatusRuntimeException e) {
      System.err.println("java: " + address + ": " + e.getMessage());
      System.exit(1);
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private void walk() {
    String userId = "java-" + newId();
    String session = newId(); // the caller's name of this login, in every refresh JWT
    String firstJti = newId();

    // 1. Read the credential version before the password is judged.
    users.createUser(CreateUserRequest.newBuilder().setUserId(userId).build());
    var user = users.getUser(GetUserRequest.newBuilder().setUserId(userId).build()).getUser();
    String version = user.getCredentialVersion();
    expect("active", user.getActive(), true);
    expect("credential_version is empty", version.isEmpty(), false);
    System.out.println("user " + userId + ", credential_version " + version);

    // 2. The password was right: open a session. No grace, so that a stolen token is noticed at once.
    var token =
        sessions
            .addRefreshToken(
                AddRefreshTokenRequest.newBuilder()
                    .setUserId(userId)
                    .setSession(session)
                    .setJti(firstJti)
                    .setCredentialVersion(version)
                    .setClient(client(LAPTOP, "::ffff:203.0.113.7"))
                    .setRotationGrace(Duration.getDefaultInstance())
                    .build())
            .getToken();
    expect("jti", token.getJti(), firstJti);
    expect("ip in canonical form", token.getBase().getClient().getIp(), "203.0.113.7");
    expect("user_agent, which is never kept", token.getBase().getClient().hasUserAgent(), false);
    System.out.println("session opened: jti " + token.getJti());

    // 3. The refresh token was presented: swap its jti, and sign the jti of the answer.
    var rotation =
        RotateRefreshTokenRequest.newBuilder()
            .setUserId(userId)
            .setSession(session)
            .setJti(firstJti)
            .setNewJti(newId())
            .build();
    var rotated = sessions.rotateRefreshToken(rotation);
    String signedJti = rotated.getToken().getJti();
    expect("outcome", rotated.getOutcome(), RotationOutcome.ROTATION_OUTCOME_ROTATED);
    expect("jti", signedJti, rotation.getNewJti());
    System.out.println("ROTATED: sign jti " + signedJti);

    // 4. The answer got lost? Send the same request again.
    var retried = sessions.rotateRefreshToken(rotation);
    expect("outcome", retried.getOutcome(), RotationOutcome.ROTATION_OUTCOME_RETRIED);
    expect("jti", retried.getToken().getJti(), signedJti);
    System.out.println("RETRIED: sign jti " + retried.getToken().getJti());

    // 5. What a resource server asks on every request.
    var question = CheckSessionRequest.newBuilder().setUserId(userId).setSession(session).build();
    expect("state", sessions.checkSession(question).getState(), TokenState.TOKEN_STATE_ACTIVE);
    System.out.println("session ACTIVE");

    // 6. A thief presents the token that was rotated away.
    var theft = rotation.toBuilder().setNewJti(newId()).build();
    refused(
        () -> sessions.rotateRefreshToken(theft), Status.Code.FAILED_PRECONDITION, "TOKEN_REPLAYED");
    System.out.println("replay refused: TOKEN_REPLAYED");

    // 7. That ended the session, also for its owner: the two can't be told apart.
    expect("state", sessions.checkSession(question).getState(), TokenState.TOKEN_STATE_REVOKED);
    System.out.println("session REVOKED");

    // 8. The owner is told why.
    var owner = rotation.toBuilder().setJti(signedJti).clearNewJti().build();
    var revoked =
        refused(
            () -> sessions.rotateRefreshToken(owner),
            Status.Code.FAILED_PRECONDITION,
            "SESSION_REVOKED");
    String reason =
        detail(revoked, ErrorInfo.class).orElseThrow().getMetadataMap().get("revocation_reason");
    expect("revocation_reason", reason, "REPLAY");
    System.out.println("rotation refused: SESSION_REVOKED because of " + reason);

    // 9. A password reset link works once.
    var link =
        oneTime.issueGenericToken(
            IssueGenericTokenRequest.newBuilder()
                .setUserId(userId)
                .setPurpose("password_reset")
                .build());
    var claim =
        ConsumeGenericTokenRequest.newBuilder()
            .setPurpose("password_reset")
            .setValue(link.getValue())
            .build();
    var consumed = oneTime.consumeGenericToken(claim).getToken();
    expect("user_id of the one-time token", consumed.getUserId(), userId);
    expect("state", consumed.getState(), TokenState.TOKEN_STATE_CONSUMED);
    refused(
        () -> oneTime.consumeGenericToken(claim), Status.Code.FAILED_PRECONDITION, "TOKEN_CONSUMED");
    System.out.println("password_reset consumed once, then TOKEN_CONSUMED");

    // 10. A request that can't be right: all its bad fields are named at once.
    var bad =
        AddRefreshTokenRequest.newBuilder().setUserId("").setSession("").setJti(firstJti).build();
    var invalid =
        refused(
            () -> sessions.addRefreshToken(bad), Status.Code.INVALID_ARGUMENT, "INVALID_REQUEST");
    var violations =
        detail(invalid, BadRequest.class)
            .map(BadRequest::getFieldViolationsList)
            .orElse(List.of());
    expect(
        "bad fields",
        violations.stream().map(BadRequest.FieldViolation::getField).sorted().toList(),
        List.of("session", "user_id"));
    for (var violation : violations) {
      System.out.println("bad field " + violation.getField() + ": " + violation.getDescription());
    }

    // 11. "Where you are logged in", after one more login on a phone.
    sessions.addRefreshToken(
        AddRefreshTokenRequest.newBuilder()
            .setUserId(userId)
            .setSession(newId())
            .setJti(newId())
            .setCredentialVersion(version)
            .setClient(client(PHONE, "2001:db8::7"))
            .build());
    var devices =
        sessions
            .listRefreshTokens(ListRefreshTokensRequest.newBuilder().setUserId(userId).build())
            .getTokensList();
    expect(
        "states, newest first",
        devices.stream().map(RefreshToken::getState).toList(),
        List.of(TokenState.TOKEN_STATE_ACTIVE, TokenState.TOKEN_STATE_REVOKED));
    for (var device : devices) {
      System.out.println("device: " + deviceLine(device));
    }

    // 12. The password was changed: everything that the old one opened ends, and so do logins in progress.
    var change =
        users.revokeCredentials(
            RevokeCredentialsRequest.newBuilder().setUserId(userId).setKeepAuthTokens(true).build());
    expect("sessions revoked", change.getRevoked().getSessions(), 1L);
    expect(
        "credential_version unchanged",
        change.getUser().getCredentialVersion().equals(version),
        false);
    var late =
        AddRefreshTokenRequest.newBuilder()
            .setUserId(userId)
            .setSession(newId())
            .setJti(newId())
            .setCredentialVersion(version)
            .build();
    refused(
        () -> sessions.addRefreshToken(late),
        Status.Code.FAILED_PRECONDITION,
        "CREDENTIALS_CHANGED");
    System.out.println("login with the old password refused: CREDENTIALS_CHANGED");

    users.deleteUser(DeleteUserRequest.newBuilder().setUserId(userId).build());
  }

  /** Makes a call that has to be refused. Decide by {@code reason}; the status's text is for people. */
  private static StatusRuntimeException refused(
      Supplier<? extends Message> call, Status.Code code, String reason) {
    try {
      call.get();
    } catch (StatusRuntimeException e) {
      ErrorInfo info =
          detail(e, ErrorInfo.class)
              .orElseThrow(
                  () -> new Mismatch("want " + reason + ", got no ErrorInfo: " + e.getMessage()));
      expect(
          "refusal",
          List.of(e.getStatus().getCode(), info.getReason(), info.getDomain()),
          List.of(code, reason, DOMAIN));
      return e;
    }
    throw new Mismatch("want " + reason + ", but the call was answered OK");
  }

  /** The first detail of that kind that the status carries. */
  static <T extends Message> Optional<T> detail(StatusRuntimeException e, Class<T> kind) {
    com.google.rpc.Status status = StatusProto.fromThrowable(e);
    if (status == null) {
      return Optional.empty();
    }
    for (Any packed : status.getDetailsList()) {
      if (packed.is(kind)) {
        try {
          return Optional.of(packed.unpack(kind));
        } catch (InvalidProtocolBufferException broken) {
          throw new Mismatch("a detail of the status can't be read: " + broken.getMessage());
        }
      }
    }
    return Optional.empty();
  }

  static void expect(String what, Object got, Object want) {
    if (!Objects.equals(got, want)) {
      throw new Mismatch(what + ": got " + got + ", want " + want);
    }
  }

  private static ClientInfo client(String userAgent, String ip) {
    return ClientInfo.newBuilder().setUserAgent(userAgent).setIp(ip).build();
  }

  private static String deviceLine(RefreshToken token) {
    ClientInfo client = token.getBase().getClient();
    String browser = (client.getBrowser() + " " + client.getBrowserVersion()).strip();
    return String.format(
        "%s on %s from %s, since %s, %s",
        browser.isEmpty() ? "unknown browser" : browser,
        client.getOs().isEmpty() ? "unknown system" : client.getOs(),
        client.getIp(),
        Instant.ofEpochSecond(token.getSessionCreated().getSeconds()),
        token.getState().name().replace("TOKEN_STATE_", ""));
  }

  static String newId() {
    byte[] bits = new byte[16];
    RANDOM.nextBytes(bits);
    return Base64.getUrlEncoder().withoutPadding().encodeToString(bits);
  }

  /** Gives every call its own deadline. */
  private static final class Deadline implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return next.newCall(method, options.withDeadlineAfter(5, TimeUnit.SECONDS));
    }
  }

  /** The registry answered something else than its contract says. */
  static final class Mismatch extends RuntimeException {
    Mismatch(String message) {
      super(message);
    }
  }
}
