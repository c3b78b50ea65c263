"""The command `certrad`."""
