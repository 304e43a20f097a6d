"""The format of a dataset's shards: names, columns, tars, statistics and versions, written and read."""
