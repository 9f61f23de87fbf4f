"""Recipes: one YAML file that says which model, images, probe and stages."""

from attnprobe.recipe.load import load_recipe
from attnprobe.recipe.overrides import Override
from attnprobe.recipe.sweep import Point, load_points
from attnprobe.recipe.values import Evaluation, Recipe

__all__ = ["Evaluation", "Override", "Point", "Recipe", "load_points", "load_recipe"]
