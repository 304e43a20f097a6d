"""The finished folder of a dataset, and what happens to it: rewrites, duplicates, verify, purge, export."""
