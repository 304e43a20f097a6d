"""The format of a dataset's shards: names, columns, tars and statistics, written and read."""
