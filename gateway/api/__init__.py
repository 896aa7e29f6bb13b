"""The API's methods, grouped as the API groups them, and what they look like on the wire."""
