"""`certrad prompts`: the prompts of a service."""
