"""t2i's core: ingest, caption, train, evaluate as plain Python and PyTorch, without Prefect.

Shape letters used in every docstring: B batch, C channels, H W pixels, L tokens, D width, S sampling steps.
Pixels are uint8 0..255 on disk and float in [-1, 1] in the core; only `data/image.py` converts between them.
"""

__version__ = "0.1.0"
