"""From proposed commands to decided entries: queues, the matcher and the supervisor."""
