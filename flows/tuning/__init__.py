"""Recipes tried on one captions folder: each is trained and judged, and the best one is written down."""
