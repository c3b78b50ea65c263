"""The HTTP side: API, client and command line. Imports no machine-learning package."""
