"""From web pages, URL lists and folders to captioned shards, and from shards to batches."""
