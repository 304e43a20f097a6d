"""One loop trains every stage of every system."""
