"""The embedded model `tiny`: its architecture, its training, its control experiment, its weights."""
