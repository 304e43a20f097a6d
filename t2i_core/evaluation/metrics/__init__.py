"""What is measured, a file a metric: each takes the evidence and gives a section, and `table.py` lists them."""
