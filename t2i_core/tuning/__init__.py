"""Recipes that are tried on one captions folder: which is best, found with as little training as it takes."""
