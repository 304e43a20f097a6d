"""What happens to folders after they were made, as flows: retry, verify, purge."""
