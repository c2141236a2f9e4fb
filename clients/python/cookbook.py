"""Recipes for a login service: connect, log in, refresh, log out, and check the session of every request.

`client.py` runs `try_it_all`, so that docs/cookbook-python.md, which shows the recipes, shows what works.
"""

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

import stubs  # noqa: F401  (makes the tokenregistry modules importable)
from tokenregistry.v1 import (
    token_pb2 as tokens,
    user_pb2 as users,
    user_pb2_grpc,
    whitelist_pb2 as whitelist,
    whitelist_pb2_grpc,
)

SERVICE_CONFIG = (Path(__file__).parent.parent / "service_config.json").read_text()


def connect(address: str) -> grpc.Channel:
    """One channel a process. The service config has the deadlines and what is retried."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.service_config", SERVICE_CONFIG),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ],
    )


class LoginRequired(Exception):
    """The person has to log in again; the argument says why."""


class TryLater(Exception):
    """The registry can't answer now."""


def judged(error: grpc.RpcError) -> Exception:
    """What a refused call means to a login service. Decide by code and `reason`; the status's text is for people."""
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return TryLater()
    if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
        status = rpc_status.from_call(error)
        for packed in status.details if status else ():
            info = ErrorInfo()
            if packed.Unpack(info) and info.domain == "tokenregistry.v1":
                return LoginRequired(info.reason)
    return error  # not the person's fault: a bug, or this service may not call that


@dataclass
class Login:
    """What goes into a refresh token as the claims sub, sid and jti."""

    user_id: str
    session: str
    jti: str


class Sessions:
    def __init__(self, channel: grpc.Channel):
        self.users = user_pb2_grpc.UserServiceStub(channel)
        self.whitelist = whitelist_pb2_grpc.WhitelistServiceStub(channel)

    def log_in(self, user_id: str, password_is_right, user_agent: str, ip: str) -> Login:
        try:
            # Read before the password is judged: if it is changed meanwhile, this login fails.
            user = self.users.CreateUser(users.CreateUserRequest(user_id=user_id)).user
            if not password_is_right():
                raise LoginRequired("wrong password")
            login = Login(user_id, secrets.token_urlsafe(16), secrets.token_urlsafe(16))
            self.whitelist.AddRefreshToken(
                whitelist.AddRefreshTokenRequest(
                    user_id=user_id,
                    session=login.session,
                    jti=login.jti,
                    credential_version=user.credential_version,
                    client=tokens.ClientInfo(user_agent=user_agent, ip=ip),
                )
            )
            return login
        except grpc.RpcError as error:
            raise judged(error) from error

    def refresh(self, presented: Login) -> Login:
        """Of a refresh token whose signature and expiry are right: the claims of its successor."""
        rotation = whitelist.RotateRefreshTokenRequest(
            user_id=presented.user_id,
            session=presented.session,
            jti=presented.jti,
            new_jti=secrets.token_urlsafe(16),  # makes the retry of a lost answer safe
        )
        try:
            answer = self.whitelist.RotateRefreshToken(rotation)
        except grpc.RpcError as error:
            raise judged(error) from error
        # Sign the jti of the answer, never new_jti: of two refreshes at once both get the same.
        return Login(presented.user_id, presented.session, answer.token.jti)

    def log_out(self, user_id: str, session: str) -> None:
        request = whitelist.RevokeSessionRequest(
            user_id=user_id, session=session, reason=tokens.REVOCATION_REASON_LOGOUT
        )
        try:
            self.whitelist.RevokeSession(request)
        except grpc.RpcError as error:
            raise judged(error) from error

    def is_live(self, user_id: str, session: str) -> bool:
        try:
            answer = self.whitelist.CheckSession(whitelist.CheckSessionRequest(user_id=user_id, session=session))
        except grpc.RpcError as error:
            raise judged(error) from error
        return answer.state == tokens.TOKEN_STATE_ACTIVE  # nothing else permits anything


def require_session(app, sessions: Sessions, claims_of):
    """WSGI middleware. `claims_of` verifies the access token of a request: its claims, or None."""

    def guarded(environ, start_response):
        claims = claims_of(environ)
        try:
            allowed = claims is not None and sessions.is_live(claims["sub"], claims["sid"])
        except TryLater:  # fail closed
            start_response("503 Service Unavailable", [("Retry-After", "1")])
            return []
        if not allowed:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
            return []
        return app(environ, start_response)

    return guarded


def try_it_all(address: str) -> None:
    with connect(address) as channel, socket.create_server(("127.0.0.1", 0)) as silent:
        sessions = Sessions(channel)
        user_id = f"python-{secrets.token_hex(8)}"
        try:
            sessions.log_in(user_id, lambda: False, "curl/8.5.0", "192.0.2.7")
            raise AssertionError("logged in with a wrong password")
        except LoginRequired:
            pass
        first = sessions.log_in(user_id, lambda: True, "curl/8.5.0", "192.0.2.7")

        def status_of(sessions: Sessions) -> str:
            said = []
            app = require_session(
                lambda environ, start_response: start_response("200 OK", []) or [],
                sessions,
                lambda environ: {"sub": user_id, "sid": first.session},
            )
            app({}, lambda status, headers: said.append(status))
            return said[0][:3]

        assert status_of(sessions) == "200"
        second = sessions.refresh(first)
        # Two tabs refresh at once: both are to sign the same jti.
        assert sessions.refresh(first) == second != first
        # A registry that never answers: the deadline is that of the service config.
        with connect("127.0.0.1:%d" % silent.getsockname()[1]) as nobody:
            assert status_of(Sessions(nobody)) == "503"
        sessions.log_out(user_id, first.session)
        assert status_of(sessions) == "401"
        try:
            sessions.refresh(second)
            raise AssertionError("refreshed after logout")
        except LoginRequired as why:
            assert why.args == ("SESSION_REVOKED",), why
        sessions.users.DeleteUser(users.DeleteUserRequest(user_id=user_id))
    print("cookbook: login, refresh, logout, check")
