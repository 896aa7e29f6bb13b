"""The API without its transports: sessions, the method registry and the methods."""
