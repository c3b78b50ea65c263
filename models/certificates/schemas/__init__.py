"""The schemas of certificate documents: how each spells what a document states."""
