"""What `make demo` shows: small upstream servers, and a tour of lines to paste. No part of serving anything."""
