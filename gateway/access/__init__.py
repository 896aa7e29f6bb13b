"""Authentication and authorization: keys, tokens, scopes and rate limits."""
