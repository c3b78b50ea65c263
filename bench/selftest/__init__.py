"""Makes the stored references of the self-test."""
