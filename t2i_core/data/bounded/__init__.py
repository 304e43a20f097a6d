"""Any number of rows in the same memory and disk: tables beside memory, budgets, caches that expire."""
