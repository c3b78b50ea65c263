"""`certrad adapters`: the adapters of a service."""
