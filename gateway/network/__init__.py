"""Sockets: listeners, connections, the read scheduler, outboxes and HTTP."""
