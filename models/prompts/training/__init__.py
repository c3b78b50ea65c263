"""Training of prompts and banks, and their adaptation to a site's images."""
