"""Objects from the Kubernetes API: one list and watch for each kind, and Secrets and ConfigMaps by name.

kubernetes_asyncio is used for what it knows best, where the API server is and who we are there (`access`), and as the
HTTP client (`api`). Lists, watches and objects are read here, straight into the types of `resources`.
"""
