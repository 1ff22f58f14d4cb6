"""Where objects come from: a directory of manifests here. A source ends in calls on the Store, nothing further."""
