"""The server beneath the API: its connections, with the limits that they have."""
