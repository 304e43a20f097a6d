"""Prompts to pictures with a finished run."""
