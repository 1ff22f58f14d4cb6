"""Where objects come from: manifests in files (`directory`), or an API server (`cluster`). A source gives Changes and
knows places; the Store is the controller's."""
