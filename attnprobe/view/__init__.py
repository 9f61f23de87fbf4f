"""Pictures of what was found: overlays, label files, notebook output."""
