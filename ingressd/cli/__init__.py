"""The commands: run, routes, version."""
