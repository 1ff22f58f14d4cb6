"""Kubernetes objects -> model. Pure functions; a bad object becomes a Problem and the rest goes on."""
