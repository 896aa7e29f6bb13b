"""The configuration file: its schema, and the reader of its tables."""
