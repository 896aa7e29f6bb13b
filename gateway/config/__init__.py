"""The configuration file: its schema, and the parser of its tables."""
