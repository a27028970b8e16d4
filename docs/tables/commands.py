"""Tables of `policies`: settings."""

TABLES: dict = {}
