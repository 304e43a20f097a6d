"""Looking at a source again, and making a new version of its dataset of what has changed."""
