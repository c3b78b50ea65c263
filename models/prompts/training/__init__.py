"""Learning prompts and banks, and adapting them to a site's images."""
