"""What manifests/ says, held against the program it installs."""
