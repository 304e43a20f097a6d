"""Which samples train, which validate and which test: decided by a hash of the group, never by chance or order."""

import hashlib

from t2i_core.data.batches.captions import SplitName


def choose_split(group: str, *, seed: int, validation_share: float, test_share: float) -> SplitName:
    """Put a group into a split.

    All samples of a group land together, and they stay there when the dataset grows.

    Args:
        group: what must not be divided, such as everything that shows one combination.
        seed: another seed gives another division.
        validation_share: expected share of groups, 0..1.
        test_share: expected share of groups, 0..1.
    """
    digest = hashlib.sha256(f"split:{seed}:{group}".encode(errors="surrogatepass")).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"
