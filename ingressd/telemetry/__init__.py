"""Access log lines and request metrics: recorded in workers, added up in the controller."""
