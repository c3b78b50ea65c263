"""Signing keys and epoch secrets of an installation."""
