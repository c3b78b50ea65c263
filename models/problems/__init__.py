"""The meaning of every stable error code, by what is to blame."""
