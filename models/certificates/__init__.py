"""The certificate document.

Write side: facts, document, labels, text, noise_key, signature.
Read side: schema, reader, checks, routed_checks, exact, verify.
canonical is the spelling that both share.
"""
