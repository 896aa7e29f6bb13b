"""Everything that touches the world: sockets, clocks, files and configuration. Trio lives here."""
