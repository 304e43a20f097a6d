"""Pictures that need no download: procedural scenes, emoji of a color font, and the small site that serves them."""
