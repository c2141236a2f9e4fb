"""jwt_allauth's own views, with their sessions in a registry: logins, rotations, a thief, logouts, changed passwords.

Usage: python walk.py [ADDRESS]      (default 127.0.0.1:50051)
"""

import re
import secrets
import sys
import time

import django
from django.conf import settings

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
PASSWORD, NEW_PASSWORD, NEWEST_PASSWORD = (f"Correct-horse-{n}" for n in ("battery", "staple", "reset"))

settings.configure(
    SECRET_KEY=secrets.token_hex(32),
    DEBUG=True,
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    # The registry knows this run's users by names of its own, so that it can be run against any registry.
    TOKEN_REGISTRY={"ADDRESS": ADDRESS, "USER_ID_FORMAT": f"django-{secrets.token_hex(6)}-{{}}"},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    AUTH_USER_MODEL="jwt_allauth.JAUser",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.sites",
        "rest_framework",
        "rest_framework.authtoken",
        "allauth",
        "allauth.account",
        "allauth.mfa",
        "jwt_allauth",
        "token_registry_django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    AUTHENTICATION_BACKENDS=[
        "django.contrib.auth.backends.ModelBackend",
        "allauth.account.auth_backends.AuthenticationBackend",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }],
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    EMAIL_VERIFICATION=True,
    ACCOUNT_PREVENT_ENUMERATION=False,
    PASSWORD_RESET_REDIRECT="http://testserver/new-password",
    JWT_ALLAUTH_REFRESH_TOKEN_AS_COOKIE=False,
    JWT_ALLAUTH_ACCESS_TOKEN_SESSION_CHECK=True,
    JWT_ALLAUTH_COLLECT_USER_AGENT=True,
    USE_TZ=True,
)
django.setup()

from allauth.account.models import EmailAddress  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core import mail  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path  # noqa: E402
from jwt_allauth.tokens.models import GenericTokenModel, RefreshTokenWhitelistModel  # noqa: E402
from token_registry_django import registry  # noqa: E402

urlpatterns = [path("", include("jwt_allauth.urls"))]


def expect(what, got, want):
    if got != want:
        raise SystemExit(f"django: {what}: got {got!r}, want {want!r}")


def post(url, want, access=None, client=None, **data):
    headers = {"Authorization": f"Bearer {access}"} if access else {}
    response = (client or Client()).post(url, data, content_type="application/json", headers=headers)
    expect(f"POST {url} {getattr(response, 'data', '')}", response.status_code, want)
    return response


def log_in(email, password):
    answer = post("/login/", 200, email=email, password=password).json()
    return answer["refresh"], answer["access"]


def sees_itself(access, want):
    response = Client().get("/user/", headers={"Authorization": f"Bearer {access}"})
    expect("GET /user/", response.status_code, want)


def table_rows():
    """What is in the package's own tables, past the managers."""
    from django.db import connection

    with connection.cursor() as cursor:
        counts = []
        for model in (RefreshTokenWhitelistModel, GenericTokenModel):
            cursor.execute(f"select count(*) from {model._meta.db_table}")
            counts.append(cursor.fetchone()[0])
        return counts


def new_user(email):
    user = get_user_model().objects.create_user(email, email=email, password=PASSWORD)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def walk():
    ada = new_user("ada@example.org")

    refresh, access = log_in(ada.email, PASSWORD)
    sees_itself(access, 200)
    print("logged in")

    answer = post("/refresh/", 200, refresh=refresh).json()
    second = answer["refresh"]
    expect("sessions", [token.rotations for token in registry.sessions(ada)], [1])
    print("rotated")

    other, other_access = log_in(ada.email, PASSWORD)
    post("/refresh/", 401, refresh=refresh)
    post("/refresh/", 401, refresh=second)
    sees_itself(answer["access"], 401)
    sees_itself(other_access, 200)
    print("a token used twice ended its session, and no other")

    post("/logout/", 200, access=other_access, refresh=other)
    post("/refresh/", 401, refresh=other)
    sees_itself(other_access, 401)
    print("logged out")

    both = [log_in(ada.email, PASSWORD) for _ in range(2)]
    post("/logout-all/", 200, access=both[0][1])
    for refresh, access in both:
        post("/refresh/", 401, refresh=refresh)
    print("logged out everywhere")

    refresh, access = log_in(ada.email, PASSWORD)
    elsewhere, _ = log_in(ada.email, PASSWORD)
    changed = post("/password/change/", 200, access=access, old_password=PASSWORD, new_password1=NEW_PASSWORD,
                   new_password2=NEW_PASSWORD).json()
    post("/refresh/", 401, refresh=refresh)
    post("/refresh/", 401, refresh=elsewhere)
    kept = post("/refresh/", 200, refresh=changed["refresh"]).json()
    print("a changed password ended all sessions but the new one")

    post("/password/reset/", 200, email=ada.email)
    link = re.search(r"/password/reset/confirm/\S+", mail.outbox[-1].body).group()
    browser = Client()
    expect("the link", browser.get(link).status_code, 302)
    expect("the link again", Client().get(link).status_code, 200)
    reset = {"new_password1": NEWEST_PASSWORD, "new_password2": NEWEST_PASSWORD}
    fresh = post("/password/reset/set-new/", 200, client=browser, **reset).json()
    post("/password/reset/set-new/", 401, client=browser, **reset)
    post("/refresh/", 401, refresh=kept["refresh"])
    post("/refresh/", 200, refresh=fresh["refresh"])
    print("a link to reset the password was good once, and what it opened too")

    refresh, access = log_in(ada.email, NEWEST_PASSWORD)
    ada.refresh_from_db()
    ada.is_active = False
    ada.save()
    sees_itself(access, 401)
    post("/refresh/", 401, refresh=refresh)
    print("a suspended user has no session")

    signed_up = post("/registration/", 201, email="grace@example.org", first_name="Grace", last_name="H",
                     password1=PASSWORD, password2=PASSWORD).json()
    grace = get_user_model().objects.get(email="grace@example.org")
    expect("sessions before the confirmation", [token.enabled for token in registry.sessions(grace)], [False])
    if "refresh" in signed_up:
        post("/refresh/", 401, refresh=signed_up["refresh"])
    confirm = re.search(r"/registration/verification/[\w:.-]+/", mail.outbox[-1].body).group()
    expect("the confirmation", Client().get(confirm).status_code in (200, 302), True)
    expect("a session after it", True in [token.enabled for token in registry.sessions(grace)], True)
    print("a confirmed address enabled its session")

    expect("rows in the package's own tables", table_rows(), [0, 0])

    settings.TOKEN_REGISTRY["ADDRESS"], there = "127.0.0.1:1", settings.TOKEN_REGISTRY["ADDRESS"]
    settings.TOKEN_REGISTRY["DEADLINE"] = 0.5
    refresh, _ = fresh["refresh"], registry._stubs.clear()
    began = time.monotonic()
    get_user_model().objects.filter(pk=ada.pk).update(is_active=True)
    post("/refresh/", 503, refresh=refresh)
    expect("patience", time.monotonic() - began < 5, True)
    settings.TOKEN_REGISTRY["ADDRESS"], settings.TOKEN_REGISTRY["DEADLINE"] = there, 3.0
    registry._stubs.clear()
    print("without a registry: 503, and nobody is logged out")

    for user in (ada, grace):
        registry.delete_user(user)


if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    walk()
    print("django: ok")
