"""The format of a data set's shards: names, columns, tars and statistics, written and read."""
