"""Structured report, secondary capture and FHIR bundle of a certificate, for the systems of a hospital."""
