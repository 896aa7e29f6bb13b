"""The wire format: JSON-RPC envelopes, error codes, and JSON for orders, accounts and markets."""
