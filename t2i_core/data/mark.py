"""How samples are marked that show what another one shows."""

from enum import StrEnum

# Of the counts in the manifest that tell how many samples are marked.
MARKED_PREFIX = "marked:"


class DuplicateKind(StrEnum):
    """In which way a sample shows what another shows; the first that fits."""

    PLACEHOLDER = "placeholder"
    EXACT = "exact"
    NEAR = "near"
