"""The admin HTTP server: health, metrics, API. Its own port, never on the request path."""
