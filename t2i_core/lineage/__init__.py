"""From a score or a picture back to its URLs, and from a URL on to all that rests on it."""
