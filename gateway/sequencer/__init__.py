"""Queue proposed commands, apply the logged entries, and supervise the venue."""
