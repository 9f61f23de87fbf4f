"""Runs: a recipe carried over many images, with everything it finds in one folder."""
