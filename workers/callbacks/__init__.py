"""Callbacks: tells an address of the client's, signed, that a job has ended."""
