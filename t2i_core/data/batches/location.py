"""What the datasets are called that captions were made from, and how a person says where each lies.

It is a folder, a URL of a store, or a pattern of its tars in either.
"""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from t2i_core.data.tables.list_files import is_remote
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import Manifest

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)=")
_PATTERN = re.compile(r"[*?\[{]")


_INPUT = "dataset"
_WEIGHT = re.compile(r"[0-9]{1,7}(\.[0-9]{1,7})?")


def input_name(dataset: str) -> str:
    """Give what a captions folder's manifest calls a dataset; the only one has the name ""."""
    return f"{_INPUT}/{dataset}" if dataset else _INPUT


def dataset_names(captions: Manifest) -> list[str]:
    """Give the names of the datasets that captions were made from, in the order of their shards.

    Raises:
        DataError: the manifest does not say it.
    """
    inputs = (name.partition("/") for name in captions.key.inputs if name in captions.sources)
    names = sorted(dataset for kind, _, dataset in inputs if kind == _INPUT)
    if not names:
        raise DataError("a captions folder does not say which dataset it was made from. Run the caption step again.")
    return names


def joined_key(dataset: str, key: str) -> str:
    """Give the key of a sample among those of several datasets; that of the only one stays."""
    return f"{dataset}/{key}" if dataset else key


def dataset_of(key: str) -> str:
    """Give the name of the dataset that a sample of several is from, "" for the only one."""
    return key.rpartition("/")[0]


def own_key(key: str) -> str:
    """Give the key of a sample in its dataset."""
    return key.rpartition("/")[2]


def divided(location: str) -> tuple[str, str]:
    """Divide a location into the dataset and the pattern of its tars, "" for all of them."""
    whole = location.rstrip("/")
    folder, _, name = whole.rpartition("/")
    if not _PATTERN.search(name) or Path(location).exists():
        return whole, ""
    return f"./{folder}".removesuffix("/shards").removeprefix("./") or ".", name


def by_dataset(locations: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Give the locations that a person named by the datasets' names; the others lie where they lay.

    Args:
        locations: each as NAME=LOCATION, or of the only dataset as LOCATION.
        names: of the datasets; [""] for the only one.

    Raises:
        ConfigError: one says of none of these datasets where it lies, or two of the same.
    """
    found: dict[str, str] = {}
    for location in filter(None, locations):
        name, place = ("", location) if names == [""] else _named(location)
        if name not in names:
            told = ", ".join(names)
            raise ConfigError(f"{location} does not say of which dataset; give NAME={place} with a name of {told}.")
        if name in found:
            raise ConfigError(f"{location} is a second place of one dataset, after {found[name]}.")
        found[name] = place
    return found


def by_weight(weights: Iterable[str], names: Sequence[str]) -> dict[str, Fraction]:
    """Give the weights of the datasets by their names; none where none is given.

    Args:
        weights: each as NAME=NUMBER.
        names: of the datasets, which all have to have a weight.

    Raises:
        ConfigError: one has none, or the weights of other datasets are given, or a weight is no number above 0.
    """
    found = dict(map(_weight, weights))
    if found and names == [""]:
        raise ConfigError("these captions are of one dataset: leave out --weights.")
    if found and found.keys() != set(names):
        told = ",".join(f"{name}=1" for name in names)
        raise ConfigError(f"--weights names {', '.join(found)}: give one to each of these datasets, such as {told}.")
    return found


def _weight(text: str) -> tuple[str, Fraction]:
    name, _, number = text.partition("=")
    if not _WEIGHT.fullmatch(number) or not Fraction(number):
        raise ConfigError(f"{text!r} is no weight of a dataset: NAME=NUMBER, with a number above 0 such as 3 or 0.5.")
    return name, Fraction(number)


def anchored(location: str) -> str:
    """Give a location for a process that works in another folder."""
    place = _named(location)[1]
    start = location.removesuffix(place)
    return f"{start}{Path(place).absolute()}" if place and not is_remote(place) else location


def _named(location: str) -> tuple[str, str]:
    """Divide NAME=LOCATION; without such a beginning the name is empty."""
    found = None if Path(location).exists() else _NAMED.match(location)
    return (found[1], location[found.end() :]) if found else ("", location)
