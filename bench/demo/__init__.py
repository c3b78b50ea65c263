"""Makes the demonstration model, its prompts and its cards."""
