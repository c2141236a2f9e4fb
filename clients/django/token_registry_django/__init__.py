"""Lets jwt_allauth keep its sessions and one-time tokens in a token registry.

Put ``token_registry_django`` after ``jwt_allauth`` in ``INSTALLED_APPS`` and set ``TOKEN_REGISTRY``; see README.md.
"""
