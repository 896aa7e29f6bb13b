"""Sessions are state: an order of a session that is not live is refused."""
