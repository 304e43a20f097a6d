"""Whatever can be ingested, as records: lists, folders, shards, archives, saved pages."""
