"""What stands in for the package's one-time tokens that are claimed once: links, and the capabilities behind them.

The rest of ``GenericTokenModel`` stays in its table, since it isn't claimed but counted or read back: the package's
second factor (challenges, failed attempts, the secret of an authenticator) and its confirmations of addresses, whose
links may be followed several times.
"""

from uuid import uuid4

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import models
from jwt_allauth.constants import PASS_RESET_ACCESS, PASS_SET_ACCESS
from jwt_allauth.tokens.purge import retentions
from jwt_allauth.utils import user_agent_dict
from rest_framework_simplejwt.exceptions import InvalidToken

from . import registry

CAPABILITIES = frozenset({PASS_RESET_ACCESS, PASS_SET_ACCESS})


def lifetime(purpose):
    """How long the package itself honours a token."""
    link = retentions().get("PASS_RESET")
    return retentions().get(purpose, link)


def _issue(user, purpose, value, device):
    try:
        registry.issue(user, purpose, value, lifetime(purpose), device)
    except registry.Refused as refused:
        raise InvalidToken(refused.reason) from refused


def make_token(self, user):
    """``GenericToken.make_token``: the link's value goes to the registry, which keeps a digest."""
    token = PasswordResetTokenGenerator.make_token(self, user)
    _issue(user, self.purpose, token, user_agent_dict(self.request))
    return token


def check_token(self, user, token):
    """``GenericToken.check_token``: signed for this user, and claimed for the first time."""
    if not PasswordResetTokenGenerator.check_token(self, user, token):
        return False
    return registry.consume(self.purpose, str(token), uuid4().hex, user)


class CapabilityManager(models.Manager):
    """The table, but for capabilities: those go to the registry."""

    def create(self, **fields):
        if fields.get("purpose") not in CAPABILITIES:
            return super().create(**fields)
        _issue(fields["user"], fields["purpose"], fields["token"], fields)
        return self.model(**fields)


def consumer(packages_consume):
    """``GenericTokenModel.consume``, with the package's own for what stays in the table."""

    def consume(cls, token, purpose):
        if purpose not in CAPABILITIES:
            return packages_consume(token, purpose)
        return registry.consume(purpose, token, uuid4().hex)

    return classmethod(consume)


