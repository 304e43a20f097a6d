"""Asking: checked addresses, bounded bodies, and a verdict by the head of an answer."""
