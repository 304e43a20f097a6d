"""What all commands share: help and options, progress, the server of one run, what stands at its end."""
