"""A job that runs every night: what each night found and decided, what of it stays on disk, and the page over all."""
