"""Calls to the registry: with a deadline, retried within it, and refused by reason."""

import os
import random
import threading
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from rest_framework import status
from rest_framework.exceptions import APIException
from tokenregistry.v1 import (
    generic_token_pb2 as generic,
    generic_token_pb2_grpc,
    token_pb2 as tokens,
    user_pb2 as users,
    user_pb2_grpc,
    whitelist_pb2 as whitelist,
    whitelist_pb2_grpc,
)

from .conf import setting, user_id

# What may be sent again: nothing was done, or the same request gets the same answer.
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
# One try may not use up the whole deadline.
TRY = 1.0


class RegistryUnavailable(APIException):
    """The registry gave no answer in time. Nobody is logged out by it: the client tries again."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The session service does not answer. Try again."
    default_code = "registry_unavailable"


class Refused(Exception):
    """The registry understood the request and refuses it, for the reason of its ErrorInfo."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class _Stubs:
    def __init__(self):
        credentials = setting("CREDENTIALS")
        if callable(credentials):
            credentials = credentials()
        # Retries are made here, where the deadline is known.
        options = [("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 30_000)]
        address = setting("ADDRESS")
        channel = (
            grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
        )
        self.whitelist = whitelist_pb2_grpc.WhitelistServiceStub(channel)
        self.generic = generic_token_pb2_grpc.GenericTokenServiceStub(channel)
        self.users = user_pb2_grpc.UserServiceStub(channel)


_stubs = {}
_making = threading.Lock()


def _of_this_process():
    # A channel doesn't survive a fork, and servers fork their workers.
    pid = os.getpid()
    if pid not in _stubs:
        with _making:
            if pid not in _stubs:
                _stubs.clear()
                _stubs[pid] = _Stubs()
    return _stubs[pid]


def _detail(error, kind):
    packed_status = rpc_status.from_call(error)
    for packed in packed_status.details if packed_status else ():
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def call(service, method, request):
    """Makes a call. The same request goes again until the deadline, when the answer was lost or never made."""
    send = getattr(getattr(_of_this_process(), service), method)
    deadline = time.monotonic() + setting("DEADLINE")
    pause = 0.05
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise RegistryUnavailable()
        try:
            return send(request, timeout=min(left, TRY))
        except grpc.RpcError as error:
            info = _detail(error, ErrorInfo)
            if error.code() not in RETRIED:
                if info is None:
                    raise RegistryUnavailable() from error
                raise Refused(info.reason) from error
            wait = pause * random.uniform(0.5, 1.5)
            retry = _detail(error, RetryInfo)
            if retry is not None:
                wait = max(wait, retry.retry_delay.ToTimedelta().total_seconds())
            if time.monotonic() + wait >= deadline:
                raise RegistryUnavailable() from error
            time.sleep(wait)
            pause *= 2


def _duration(delta):
    if delta is None:
        return None
    duration = Duration()
    duration.FromTimedelta(delta)
    return duration


DEVICE = (
    "ip", "is_mobile", "is_tablet", "is_pc", "is_bot", "browser", "browser_version", "os", "os_version", "device",
    "device_brand", "device_model",
)


def client_info(fields):
    """The package's device columns as a ClientInfo; None if it collects none."""
    told = {name: fields[name] for name in DEVICE if fields.get(name) is not None}
    return tokens.ClientInfo(**told) if told else None


def add_session(user, session, jti, enabled, device, idle_timeout, session_lifetime):
    return call(
        "whitelist",
        "AddRefreshToken",
        whitelist.AddRefreshTokenRequest(
            user_id=user_id(user),
            session=session,
            jti=jti,
            enabled=enabled,
            client=client_info(device),
            idle_timeout=_duration(idle_timeout),
            session_lifetime=_duration(session_lifetime),
            rotation_grace=_duration(setting("ROTATION_GRACE")),
        ),
    ).token


def rotate(user, session, jti, new_jti, device):
    """Rotates; the token that the answer names is to be signed, whichever jti was proposed."""
    request = whitelist.RotateRefreshTokenRequest(
        user_id=user_id(user), session=session, jti=jti, new_jti=new_jti, client=client_info(device)
    )
    return call("whitelist", "RotateRefreshToken", request).token


def is_live(user, session):
    """Whether a session lives. A disabled one does: it is refused on rotation alone, as by the package."""
    request = whitelist.CheckSessionRequest(user_id=user_id(user), session=session)
    state = call("whitelist", "CheckSession", request).state
    return state in (tokens.TOKEN_STATE_ACTIVE, tokens.TOKEN_STATE_DISABLED)


def sessions(user):
    """A user's live sessions, newest first."""
    request = whitelist.ListRefreshTokensRequest(user_id=user_id(user), page_size=500)
    while True:
        answer = call("whitelist", "ListRefreshTokens", request)
        for token in answer.tokens:
            if token.state in (tokens.TOKEN_STATE_ACTIVE, tokens.TOKEN_STATE_DISABLED):
                yield token
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def set_enabled(user, session, enabled):
    request = whitelist.SetRefreshTokenEnabledRequest(user_id=user_id(user), session=session, enabled=enabled)
    return call("whitelist", "SetRefreshTokenEnabled", request).token


def revoke_session(user, session):
    request = whitelist.RevokeSessionRequest(
        user_id=user_id(user), session=session, reason=tokens.REVOCATION_REASON_LOGOUT
    )
    return call("whitelist", "RevokeSession", request).revoked_count


def revoke_sessions(user):
    request = whitelist.RevokeUserSessionsRequest(user_id=user_id(user), reason=tokens.REVOCATION_REASON_LOGOUT)
    return call("whitelist", "RevokeUserSessions", request).revoked_count


def revoke_credentials(user, request_id):
    """A password change. Auth tokens stay, as they do in the package."""
    request = users.RevokeCredentialsRequest(user_id=user_id(user), keep_auth_tokens=True, request_id=request_id)
    return call("users", "RevokeCredentials", request).revoked


def set_active(user, active):
    return call("users", "SetUserActive", users.SetUserActiveRequest(user_id=user_id(user), active=active))


def delete_user(user):
    return call("users", "DeleteUser", users.DeleteUserRequest(user_id=user_id(user)))


def issue(user, purpose, value, lifetime, device):
    """Keeps a value of the package's own as a one-time token; it replaces the user's earlier ones of that purpose."""
    request = generic.IssueGenericTokenRequest(
        user_id=user_id(user), purpose=purpose, value=value, lifetime=_duration(lifetime), client=client_info(device)
    )
    return call("generic", "IssueGenericToken", request).token


def consume(purpose, value, consumption_id, user=None):
    """Claims a one-time token; True for exactly one caller, however often it must ask."""
    request = generic.ConsumeGenericTokenRequest(purpose=purpose, value=value, consumption_id=consumption_id)
    if user is not None:
        request.user_id = user_id(user)
    try:
        call("generic", "ConsumeGenericToken", request)
    except Refused:
        return False
    return True
