"""Step 1, ingest: plan, harvest, finish, and try again."""
