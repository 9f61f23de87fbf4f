"""The embedded model `tiny`: its architecture, its training, and its weights in `pipeline/`."""
