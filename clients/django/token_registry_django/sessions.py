"""What stands in for ``RefreshTokenWhitelistModel.objects``.

It understands just what the package asks, and refuses everything else aloud rather than with an empty answer.
"""

from django.conf import settings
from django.db import models
from jwt_allauth.utils import get_session_lifetime
from rest_framework_simplejwt.exceptions import InvalidToken

from . import registry


class Unsupported(NotImplementedError):
    """A query that the registry has no counterpart for."""


class RegistrySessions:
    """The sessions that some conditions select. Like a query set, it asks only when it must."""

    def __init__(self, model, **conditions):
        self.model = model
        names = {name: name.removesuffix("__exact") for name in conditions}
        self.conditions = {("user" if names[name] == "user_id" else names[name]): it for name, it in conditions.items()}
        unknown = set(self.conditions) - {"user", "session", "jti"}
        if unknown:
            raise Unsupported(f"sessions can't be selected by {', '.join(sorted(unknown))}")

    def all(self):
        return self

    def select_for_update(self, **_):
        # The registry orders rotations and revocations by itself.
        return self

    def filter(self, *args, **conditions):
        if args:
            raise Unsupported("sessions can't be selected by Q")
        return RegistrySessions(self.model, **self.conditions, **conditions)

    def _tokens(self):
        if "user" not in self.conditions:
            if set(self.conditions) == {"jti"}:
                # Whether a new jti is unique: it is random, and unique enough within its session.
                return
            raise Unsupported("sessions can be selected only of a user: the registry knows them by user and session")
        wanted = {name: it for name, it in self.conditions.items() if name != "user"}
        for token in registry.sessions(self.conditions["user"]):
            if all(getattr(token, name) == it for name, it in wanted.items()):
                yield token

    def __iter__(self):
        for token in self._tokens():
            user = self.conditions["user"]
            row = self.model(
                id=token.base.id,
                user_id=getattr(user, "pk", user),
                jti=token.jti,
                session=token.session,
                enabled=token.enabled,
                created=token.base.created.ToDatetime(),
            )
            row._state.adding = False
            yield row

    def first(self):
        return next(iter(self), None)

    def exists(self):
        return next(iter(self._tokens()), None) is not None

    def count(self):
        return sum(1 for _ in self._tokens())

    def delete(self):
        user, session = self.conditions.get("user"), self.conditions.get("session")
        if user is None or "jti" in self.conditions:
            raise Unsupported("sessions can be ended only by user, or by user and session")
        count = registry.revoke_sessions(user) if session is None else registry.revoke_session(user, session)
        return count, {self.model._meta.label: count}

    def create(self, user, jti, session, enabled=True, **device):
        lifetime = settings.SIMPLE_JWT["REFRESH_TOKEN_LIFETIME"]
        try:
            token = registry.add_session(user, session, jti, enabled, device, lifetime, get_session_lifetime())
        except registry.Refused as refused:
            raise InvalidToken(refused.reason) from refused
        row = self.model(id=token.base.id, user=user, jti=jti, session=session, enabled=enabled, **device)
        row._state.adding = False
        return row


class RegistryManager(models.Manager):
    """Leads to the registry instead of the table."""

    def get_queryset(self):
        return RegistrySessions(self.model)

    # Manager makes these from a query set's class; ours is none.
    def filter(self, *args, **conditions):
        return self.get_queryset().filter(*args, **conditions)

    def select_for_update(self, **options):
        return self.get_queryset().select_for_update(**options)

    def create(self, **fields):
        return self.get_queryset().create(**fields)


def save(self, **_):
    """``RefreshTokenWhitelistModel.save``: the switch is all that the package ever changes."""
    try:
        registry.set_enabled(self.user_id, self.session, self.enabled)
    except registry.Refused as refused:
        raise InvalidToken(refused.reason) from refused


def delete(self, **_):
    """``RefreshTokenWhitelistModel.delete``."""
    count = registry.revoke_session(self.user_id, self.session)
    return count, {self._meta.label: count}
