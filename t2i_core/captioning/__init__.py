"""Step 2, caption: rules, filters, splits and their report."""
