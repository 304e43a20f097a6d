"""Recipes: the order of the steps, as Prefect flows and as the `t2i` command."""
