"""Prompts to pictures with a finished run or system."""
