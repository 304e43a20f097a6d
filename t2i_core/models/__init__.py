"""Networks, one architecture a file, config above class. They know tensors only: no data, no noise schedule."""
