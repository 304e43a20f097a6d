"""Networks, one architecture a file, their sizes in config.py. They know tensors only: no data, no noise schedule."""
