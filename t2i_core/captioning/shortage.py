"""Why a caption step kept nothing to train on, and what to do about it."""

from collections.abc import Mapping

SHOWN = 3
# What lets through what a rule leaves out.
ADVICE = {
    "empty": "give the pictures texts (another --caption-column of the ingest, or a .txt beside each picture)",
    "unreadable": "leave out the rule that fails with --rules",
    "too_short": "lower --min-words and --min-characters",
    "too_long": "raise --max-words and --max-characters",
    "boilerplate": "give --boilerplate the words that say nothing here",
    "placeholder_picture": "add --no-drop-placeholders",
    "duplicate_picture": "add --no-drop-duplicates",
    "near_duplicate_picture": "add --no-drop-near-duplicates",
    "too_frequent": "raise --max-same-caption, or leave it out",
}


def explain_shortage(num_pictures: int, num_kept: int, reasons: Mapping[str, int]) -> str:
    """Say why no caption is left to train on.

    Args:
        num_pictures: pictures that the dataset holds.
        num_kept: captions that no rule left out; all of them fell to validation and test.
        reasons: captions left out by the name of the `CaptionReason`.
    """
    start = "no caption is left to train on: "
    if not num_pictures:
        return f"{start}the dataset holds no picture. Its report.html says why its sources were rejected."
    if num_kept:
        return (
            f"{start}of {num_pictures:,} pictures {num_kept:,} are kept, and the split gives all of them to validation "
            "or test. Ingest more pictures, or lower --validation-share and --test-share."
        )
    most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{name} {count:,}" for name, count in most)
    advice = "; ".join(f"for {name}: {ADVICE[name]}" for name, _ in most[:SHOWN])
    return f"{start}the rules leave out all of {num_pictures:,} pictures ({told}). What to do {advice}."
