"""The finished folder of a data set, and what happens to it: rewrites, duplicates, verify, purge, export."""
