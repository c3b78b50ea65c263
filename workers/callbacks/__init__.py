"""Delivers callbacks: signed messages to an address of the client, each of which says that a job has ended."""
