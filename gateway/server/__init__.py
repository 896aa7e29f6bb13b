"""Assembly, tasks and processes of a running venue."""
