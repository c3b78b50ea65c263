"""The queue side: contract, intake of untrusted bytes, resident engine."""
