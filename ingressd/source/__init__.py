"""Where objects come from: manifests in files here. A source gives Changes and knows places, and has no Store."""
