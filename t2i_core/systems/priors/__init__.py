"""Stages that make the embedding of a picture from a caption, which a decoder then draws."""
