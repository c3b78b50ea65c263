"""Signed evidence about a task of an installation, for a regulatory file."""
