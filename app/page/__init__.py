"""The page at `/` and the API reference at `/docs`: files that a browser runs, and what serves them."""
