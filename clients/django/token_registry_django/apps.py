"""Puts the registry in the places of the package's tables."""

from django.apps import AppConfig
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_save

# The version whose seams these are. Another one may have others.
WRITTEN_FOR = "1.5.1"


class TokenRegistryConfig(AppConfig):
    name = "token_registry_django"
    verbose_name = "Token registry"

    def ready(self):
        from importlib.metadata import version

        installed = version("django-jwt-allauth")
        if installed != WRITTEN_FOR:
            raise ImproperlyConfigured(f"token_registry_django is written for django-jwt-allauth {WRITTEN_FOR}, not {installed}")
        self._replace()
        user = get_user_model()
        post_save.connect(_user_saved, sender=user, dispatch_uid="token_registry_user_saved")
        post_delete.connect(_user_deleted, sender=user, dispatch_uid="token_registry_user_deleted")

    @staticmethod
    def _replace():
        from jwt_allauth import authentication, revocation
        from jwt_allauth.logout import views as logout_views
        from jwt_allauth.password_change import serializers as password_change
        from jwt_allauth.password_reset import views as password_reset
        from jwt_allauth.token_refresh import serializers as refresh_serializers, views as refresh_views
        from jwt_allauth.tokens.models import GenericTokenModel, RefreshTokenWhitelistModel
        from jwt_allauth.tokens.tokens import GenericToken

        from . import one_time, sessions, views

        _set_manager(RefreshTokenWhitelistModel, sessions.RegistryManager())
        RefreshTokenWhitelistModel.save = sessions.save
        RefreshTokenWhitelistModel.delete = sessions.delete
        refresh_views.TokenRefreshView.serializer_class = views.TokenRefreshSerializer
        refresh_views.TokenRefreshSerializer = views.TokenRefreshSerializer
        refresh_serializers.TokenRefreshSerializer = views.TokenRefreshSerializer
        logout_views.RemoveRefreshTokenSerializer = views.RemoveRefreshTokenSerializer
        authentication.validate_session = views.validate_session
        for module in (revocation, password_change, password_reset):
            module.revoke_on_credential_change = views.revoke_on_credential_change
        _set_manager(GenericTokenModel, one_time.CapabilityManager())
        GenericTokenModel.consume = one_time.consumer(GenericTokenModel.consume)
        GenericToken.make_token = one_time.make_token
        GenericToken.check_token = one_time.check_token


def _set_manager(model, manager):
    model._meta.local_managers.clear()
    model.add_to_class("objects", manager)


def _user_saved(sender, instance, created, raw, update_fields, **_):
    """Whoever is switched off loses everything in the registry, too."""
    from . import registry

    if raw or created or (update_fields is not None and "is_active" not in update_fields):
        return
    pk, active = instance.pk, instance.is_active
    transaction.on_commit(lambda: registry.set_active(pk, active))


def _user_deleted(sender, instance, **_):
    from . import registry

    pk = instance.pk
    transaction.on_commit(lambda: registry.delete_user(pk))
