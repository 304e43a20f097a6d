"""Pictures that need no download: procedural scenes, emoji of a colour font, and the small site that serves them."""
