"""Several systems side by side: their evaluations as one table, and a grid of what each drew."""
