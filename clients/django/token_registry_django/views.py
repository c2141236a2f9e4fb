"""What stands in for the package's serializers that rotate and end sessions, and for its functions around them."""

from uuid import uuid4

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from jwt_allauth.authentication import SESSION_CLAIM, session_check_enabled
from jwt_allauth.constants import MFA_PURPOSE_LOGIN_ATTEMPT, SESSION_IAT_CLAIM
from jwt_allauth.exceptions import SessionExpired
from jwt_allauth.logout.serializers import RemoveRefreshTokenSerializer as PackagesRemove
from jwt_allauth.token_refresh.serializers import DISABLED, INACTIVE_USER, REPLAYED, SESSION_EXPIRED, RotationRejected
from jwt_allauth.token_refresh.serializers import TokenRefreshSerializer as PackagesRefresh
from jwt_allauth.tokens.app_settings import RefreshToken
from jwt_allauth.tokens.models import GenericTokenModel
from jwt_allauth.utils import is_email_verified
from rest_framework_simplejwt.exceptions import InvalidToken

from . import registry

# What the package calls the registry's refusals; any other is a token that nobody may use.
REJECTIONS = {
    "TOKEN_REPLAYED": REPLAYED,
    "SESSION_NOT_FOUND": REPLAYED,
    "SESSION_REVOKED": REPLAYED,
    "TOKEN_DISABLED": DISABLED,
    "SESSION_EXPIRED": SESSION_EXPIRED,
    "USER_INACTIVE": INACTIVE_USER,
}


class TokenRefreshSerializer(PackagesRefresh):
    """Rotates in one call: who was first, who comes again and who is a thief is judged by the registry."""

    def validate(self, attrs):
        refresh = self.token_class(attrs["refresh"])
        if "session" not in refresh.payload or "user_id" not in refresh.payload:
            raise InvalidToken()
        try:
            return self.rotate(refresh)
        except RotationRejected as rejection:
            self.reject(refresh, rejection)

    def rotate(self, refresh):
        user = get_user_model().objects.filter(pk=refresh.payload["user_id"]).first()
        if user is None:
            raise RotationRejected(REPLAYED)
        if SESSION_IAT_CLAIM not in refresh.payload:
            refresh.set_session_iat()
        elif refresh.session_expired():
            raise RotationRejected(SESSION_EXPIRED, user)
        if not user.is_active:
            raise RotationRejected(INACTIVE_USER, user)
        refresh.sync_user_claims(user)
        access = str(refresh.access_token)
        old = refresh.payload["jti"]
        try:
            # The proposed jti makes it safe to send the same again when an answer is lost.
            token = registry.rotate(user, refresh.payload["session"], old, uuid4().hex, self.context)
        except registry.Refused as refused:
            raise RotationRejected(REJECTIONS.get(refused.reason, REPLAYED), user) from refused
        # Not the proposed one: within the grace of a rotation it is the winner's.
        refresh.payload["jti"] = token.jti
        refresh.set_exp()
        refresh.set_iat()
        refresh.cap_exp_to_session()
        return {"access": access, "refresh": str(refresh)}

    @staticmethod
    def reject(refresh, rejection):
        session = refresh.payload["session"]
        if rejection.reason == DISABLED:
            is_email_verified(rejection.user, raise_exception=True)
        elif rejection.reason == SESSION_EXPIRED:
            registry.revoke_session(rejection.user, session)
            raise SessionExpired()
        elif rejection.reason == INACTIVE_USER:
            registry.revoke_sessions(rejection.user)
        # A replay has ended the session already, in the registry's own write.
        raise InvalidToken()


class RemoveRefreshTokenSerializer(PackagesRemove):
    """Logs out of the session of a refresh token."""

    def validate(self, attrs):
        refresh = RefreshToken(attrs["refresh"])
        user_id = self.context.get("user")
        if user_id is None or "session" not in refresh.payload:
            raise InvalidToken()
        if not constant_time_compare(str(user_id), str(refresh.payload["user_id"])):
            raise InvalidToken()
        if registry.revoke_session(user_id, refresh.payload["session"]) == 0:
            raise InvalidToken()
        return {}


def revoke_on_credential_change(user_id):
    """Ends every session and one-time token of a user, and moves the credential version, in one transaction there."""
    if not getattr(settings, "LOGOUT_ON_PASSWORD_CHANGE", True):
        return
    registry.revoke_credentials(user_id, uuid4().hex)
    # What the package keeps in its own table nevertheless.
    GenericTokenModel.objects.filter(user=user_id).exclude(purpose=MFA_PURPOSE_LOGIN_ATTEMPT).delete()
    EmailAddress.objects.filter(user=user_id, verified=False, primary=False).delete()


def validate_session(validated_token):
    """``JWT_ALLAUTH_ACCESS_TOKEN_SESSION_CHECK``: one question to the registry a request."""
    session = validated_token.payload.get(SESSION_CLAIM)
    if not session_check_enabled() or session is None:
        return
    if not registry.is_live(validated_token.payload.get("user_id"), session):
        raise InvalidToken(_("Session is no longer active."))
