"""Foreign lists and tables as rows, read in a process of their own."""
