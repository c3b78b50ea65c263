"""Envelopes around a certificate document that tools outside this project check: DSSE and JWS."""
