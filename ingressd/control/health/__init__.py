"""Active health checks: who is asked, when, what follows, and what workers are told of it; and what workers found.

Asking is done here and nowhere else, once for each endpoint and check, however many workers there are. Deciding
(`standing`, `overlay`) is apart from asking (`probe`, `prober`).
"""
