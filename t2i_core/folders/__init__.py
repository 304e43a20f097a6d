"""The contract between steps: each reads folders and writes one, which is done when its manifest is there."""
