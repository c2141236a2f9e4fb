"""The setting ``TOKEN_REGISTRY``, with its defaults."""

from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

DEFAULTS = {
    # Where the registry listens.
    "ADDRESS": "127.0.0.1:50051",
    # How long a call may take, retries included, in seconds.
    "DEADLINE": 3.0,
    # grpc.ChannelCredentials, or a function without arguments that makes them; None: no TLS.
    "CREDENTIALS": None,
    # The registry's user_id of a user, as given to `token-registry import django --user-id-format`.
    "USER_ID_FORMAT": "{}",
    # How long the token before the last one is answered with the last one. None: what the registry is configured for.
    # Zero is what the package does by itself: whoever presents an old token ends the session.
    "ROTATION_GRACE": timedelta(0),
}


def setting(name):
    own = getattr(settings, "TOKEN_REGISTRY", {})
    unknown = set(own) - set(DEFAULTS)
    if unknown:
        raise ImproperlyConfigured(f"TOKEN_REGISTRY has no {', '.join(sorted(unknown))}; it has {', '.join(DEFAULTS)}")
    return own.get(name, DEFAULTS[name])


def user_id(user):
    """The registry's name of a user, or of a user's primary key."""
    return setting("USER_ID_FORMAT").replace("{}", str(getattr(user, "pk", user)), 1)
