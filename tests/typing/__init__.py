"""Snippets of a user's project for type checkers; nothing here is executed but ``test_types``."""
