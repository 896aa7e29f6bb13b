"""The nursery tree of a running venue, its assembly, and the processes beside it."""
