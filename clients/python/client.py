"""A walk through the token registry, in the order in which a login service would call it.

Usage: python client.py [ADDRESS]      (default 127.0.0.1:50051)
"""

import secrets
import sys

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

import cookbook
import stubs  # noqa: F401  (makes the tokenregistry modules importable)
from tokenregistry.v1 import (
    generic_token_pb2 as generic,
    generic_token_pb2_grpc,
    token_pb2 as tokens,
    user_pb2 as users,
    user_pb2_grpc,
    whitelist_pb2 as whitelist,
    whitelist_pb2_grpc,
)

DEADLINE = 5.0  # seconds; every call has one
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1"
)


class Mismatch(Exception):
    """The registry answered something else than its contract says."""


def expect(what: str, got, want) -> None:
    if got != want:
        raise Mismatch(f"{what}: got {got!r}, want {want!r}")


def detail(error: grpc.RpcError, kind):
    """The first detail of that kind (ErrorInfo, BadRequest) that the status carries, or None."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def refused(method, request, code: grpc.StatusCode, reason: str) -> grpc.RpcError:
    """Makes a call that has to be refused. Decide by `reason`; the text of the status is for people only."""
    try:
        method(request, timeout=DEADLINE)
    except grpc.RpcError as error:
        info = detail(error, ErrorInfo)
        if info is None:
            raise Mismatch(f"want {reason}, got {error.code().name} without ErrorInfo: {error.details()}") from None
        expect("refusal", (error.code(), info.reason, info.domain), (code, reason, "tokenregistry.v1"))
        return error
    raise Mismatch(f"want {reason}, but the call was answered OK")


def device_line(token) -> str:
    client = token.base.client
    browser = f"{client.browser} {client.browser_version}".strip() or "unknown browser"
    state = tokens.TokenState.Name(token.state).removeprefix("TOKEN_STATE_")
    since = token.session_created.ToDatetime().isoformat(" ", "seconds")
    return f"{browser} on {client.os or 'unknown system'} from {client.ip}, since {since} UTC, {state}"


def walk(channel: grpc.Channel) -> None:
    user_service = user_pb2_grpc.UserServiceStub(channel)
    sessions = whitelist_pb2_grpc.WhitelistServiceStub(channel)
    one_time = generic_token_pb2_grpc.GenericTokenServiceStub(channel)
    failed_precondition = grpc.StatusCode.FAILED_PRECONDITION

    user_id = f"python-{secrets.token_hex(8)}"
    session = secrets.token_urlsafe(16)  # the caller's name of this login, in every refresh JWT
    first_jti, second_jti, thiefs_jti = (secrets.token_urlsafe(16) for _ in range(3))

    # 1. Read the credential version before the password is judged.
    user_service.CreateUser(users.CreateUserRequest(user_id=user_id), timeout=DEADLINE)
    user = user_service.GetUser(users.GetUserRequest(user_id=user_id), timeout=DEADLINE).user
    expect("active", user.active, True)
    version = user.credential_version
    if not version:
        raise Mismatch("credential_version is empty")
    print(f"user {user_id}, credential_version {version}")

    # 2. The password was right: open a session. No grace, so that a stolen token is noticed at once.
    token = sessions.AddRefreshToken(
        whitelist.AddRefreshTokenRequest(
            user_id=user_id,
            session=session,
            jti=first_jti,
            credential_version=version,
            client=tokens.ClientInfo(user_agent=LAPTOP, ip="::ffff:203.0.113.7"),
            rotation_grace=Duration(),
        ),
        timeout=DEADLINE,
    ).token
    expect("jti", token.jti, first_jti)
    expect("ip in canonical form", token.base.client.ip, "203.0.113.7")
    expect("user_agent, which is never kept", token.base.client.HasField("user_agent"), False)
    print(f"session opened: jti {token.jti}")

    # 3. The refresh token was presented: swap its jti, and sign the jti of the answer.
    rotation = whitelist.RotateRefreshTokenRequest(
        user_id=user_id, session=session, jti=first_jti, new_jti=second_jti
    )
    answer = sessions.RotateRefreshToken(rotation, timeout=DEADLINE)
    expect("RotationOutcome", answer.outcome, whitelist.ROTATION_OUTCOME_ROTATED)
    signed_jti = answer.token.jti
    expect("jti", signed_jti, second_jti)
    print(f"ROTATED: sign jti {signed_jti}")

    # 4. The answer got lost? Send the same request again.
    answer = sessions.RotateRefreshToken(rotation, timeout=DEADLINE)
    expect("RotationOutcome", answer.outcome, whitelist.ROTATION_OUTCOME_RETRIED)
    expect("jti", answer.token.jti, signed_jti)
    print(f"RETRIED: sign jti {answer.token.jti}")

    # 5. What a resource server asks on every request.
    question = whitelist.CheckSessionRequest(user_id=user_id, session=session)
    state = sessions.CheckSession(question, timeout=DEADLINE).state
    expect("TokenState before the replay", state, tokens.TOKEN_STATE_ACTIVE)
    print("session ACTIVE")

    # 6. A thief presents the token that was rotated away.
    theft = whitelist.RotateRefreshTokenRequest(
        user_id=user_id, session=session, jti=first_jti, new_jti=thiefs_jti
    )
    refused(sessions.RotateRefreshToken, theft, failed_precondition, "TOKEN_REPLAYED")
    print("replay refused: TOKEN_REPLAYED")

    # 7. That ended the session, also for its owner: the two can't be told apart.
    state = sessions.CheckSession(question, timeout=DEADLINE).state
    expect("TokenState after the replay", state, tokens.TOKEN_STATE_REVOKED)
    print("session REVOKED")

    # 8. The owner is told why.
    owner = whitelist.RotateRefreshTokenRequest(user_id=user_id, session=session, jti=signed_jti)
    error = refused(sessions.RotateRefreshToken, owner, failed_precondition, "SESSION_REVOKED")
    reason = detail(error, ErrorInfo).metadata.get("revocation_reason")
    expect("revocation_reason", reason, "REPLAY")
    print(f"rotation refused: SESSION_REVOKED because of {reason}")

    # 9. A password reset link works once.
    link = one_time.IssueGenericToken(
        generic.IssueGenericTokenRequest(user_id=user_id, purpose="password_reset"), timeout=DEADLINE
    )
    claim = generic.ConsumeGenericTokenRequest(purpose="password_reset", value=link.value)
    consumed = one_time.ConsumeGenericToken(claim, timeout=DEADLINE).token
    expect("user_id of the one-time token", consumed.user_id, user_id)
    expect("TokenState of the one-time token", consumed.state, tokens.TOKEN_STATE_CONSUMED)
    refused(one_time.ConsumeGenericToken, claim, failed_precondition, "TOKEN_CONSUMED")
    print("password_reset consumed once, then TOKEN_CONSUMED")

    # 10. A request that can't be right: all its bad fields are named at once.
    bad = whitelist.AddRefreshTokenRequest(user_id="", session="", jti=first_jti)
    error = refused(sessions.AddRefreshToken, bad, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    violations = detail(error, BadRequest) or BadRequest()
    fields = sorted(violation.field for violation in violations.field_violations)
    expect("bad fields", fields, ["session", "user_id"])
    for violation in violations.field_violations:
        print(f"bad field {violation.field}: {violation.description}")

    # 11. "Where you are logged in", after one more login on a phone.
    sessions.AddRefreshToken(
        whitelist.AddRefreshTokenRequest(
            user_id=user_id,
            session=secrets.token_urlsafe(16),
            jti=secrets.token_urlsafe(16),
            credential_version=version,
            client=tokens.ClientInfo(user_agent=PHONE, ip="2001:db8::7"),
        ),
        timeout=DEADLINE,
    )
    page = sessions.ListRefreshTokens(whitelist.ListRefreshTokensRequest(user_id=user_id), timeout=DEADLINE)
    states = [token.state for token in page.tokens]
    expect("TokenStates, newest first", states, [tokens.TOKEN_STATE_ACTIVE, tokens.TOKEN_STATE_REVOKED])
    for token in page.tokens:
        print(f"device: {device_line(token)}")

    # 12. The password was changed: everything that the old one opened ends, and so do logins in progress.
    change = user_service.RevokeCredentials(
        users.RevokeCredentialsRequest(user_id=user_id, keep_auth_tokens=True), timeout=DEADLINE
    )
    expect("sessions revoked", change.revoked.sessions, 1)
    if change.user.credential_version == version:
        raise Mismatch("credential_version did not change")
    late = whitelist.AddRefreshTokenRequest(
        user_id=user_id,
        session=secrets.token_urlsafe(16),
        jti=secrets.token_urlsafe(16),
        credential_version=version,
    )
    refused(sessions.AddRefreshToken, late, failed_precondition, "CREDENTIALS_CHANGED")
    print("login with the old password refused: CREDENTIALS_CHANGED")

    user_service.DeleteUser(users.DeleteUserRequest(user_id=user_id), timeout=DEADLINE)


def main() -> int:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    try:
        with grpc.insecure_channel(address) as channel:
            walk(channel)
        cookbook.try_it_all(address)
    except Mismatch as mismatch:
        print(f"python: {mismatch}", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"python: {address}: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    print("python: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
