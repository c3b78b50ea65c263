"""The certificate document: made from facts, signed, read and verified."""
