"""Frozen text encoders from folders of a finished run or from elsewhere: what they are, and what they give."""
