"""Folders by names: those that a person gives them, NAME=FOLDER, or else their own."""

import re
from collections.abc import Sequence
from pathlib import Path

from t2i_core.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def named_folders(words: Sequence[str], what: str) -> dict[str, Path]:
    """Give folders by name, in their order.

    Args:
        words: FOLDER or NAME=FOLDER each.
        what: they are, in the plural, for messages.

    Raises:
        ConfigError: two have the same name, or one has none that can be used.
    """
    found: dict[str, Path] = {}
    for name, folder in map(name_and_folder, words):
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{folder} needs a name of letters and digits among the {what}: give NAME={folder}.")
        if name in found:
            raise ConfigError(
                f"two {what} are called {name}, {found[name]} and {folder}: name them, such as "
                f"first={found[name]} second={folder}."
            )
        found[name] = folder
    return found


def name_and_folder(word: str) -> tuple[str, Path]:
    """Take FOLDER or NAME=FOLDER apart; without a name a folder is called as it is on disk."""
    name, given, folder = word.partition("=")
    if given and _NAME.fullmatch(name) and not Path(word).exists():
        return name, Path(folder)
    return Path(word).resolve().name, Path(word)
