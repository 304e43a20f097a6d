"""The data card `README.md`: what sites that share datasets show, and what `datasets.load_dataset(FOLDER)` goes by.

Its head is YAML: which files are the data, the types of what is in them, licenses and size. All text from elsewhere is
quoted there, and escaped in the Markdown below it.
"""

import re
import string
from collections.abc import Iterator, Sequence

import pyarrow as pa

from t2i_core.data.account.card import describe_collection, describe_samples, name_hosts, source_name
from t2i_core.data.account.survey import CROISSANT_NAME, REPORT_NAME, Overview
from t2i_core.data.counts import Counts
from t2i_core.data.shards.layout import SHARDS_DIR, TABLE_ONLY
from t2i_core.progress import plain

NUM_LICENSES = 20
_DTYPES = {"double": "float64", "float": "float32"}
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
# Names of the Creative Commons' licenses that sharing sites know, by terms.
_VERSIONS = {
    "by": ("2.0", "2.5", "3.0", "4.0"),
    "by-sa": ("3.0", "4.0"),
    "by-nc": ("2.0", "3.0", "4.0"),
    "by-nd": ("4.0",),
    "by-nc-nd": ("3.0", "4.0"),
    "by-nc-sa": ("2.0", "3.0", "4.0"),
}
_KNOWN = frozenset({"cc0-1.0"} | {f"cc-{terms}-{n}" for terms, versions in _VERSIONS.items() for n in versions})
_LICENSE_URL = re.compile(
    r"https?://creativecommons\.org/(?:licenses/(?P<terms>[a-z-]+)|publicdomain/zero)/(?P<version>[0-9.]+)(?:/.*)?"
)
# Commas, brackets and the end of a sentence are left as they are: without the rest they make no markup.
_MARKUP = re.compile(r"(?![,()]|\.(?: |$))[!-/:-@\[-`{-~]")
_BODY = """# {title}

{samples}

Made by t2i {version}; identity of the content: `sha256:{digest}`. Pictures and figures: `{report}`; for programs:
`{croissant}`.

```python
from datasets import load_dataset

samples = load_dataset("path/to/this/folder", split="train")  # {picture}: the picture, txt: its text, json: the rest
```

## Where it comes from

{collection}

{hosts}

{reasons}

## Licenses

The rights of each picture are those of its source; `license` in the JSON of a sample says what was stated there.

{licenses}

## What to know

Texts are as found: they may be wrong, in any language, or about something else. Pictures and texts of people may be
among the samples; this was not examined. Sources purged on request so far: {purged:,}.
"""


def render_readme(overview: Overview) -> bytes:
    """Write the card."""
    return "\n".join(("---", *_head(overview), "---", "", _body(overview))).encode("utf-8", "replace")


def _head(overview: Overview) -> Iterator[str]:
    """Give the lines of the YAML."""
    yield f"pretty_name: {quoted(_title(overview))}"
    yield from ("license:", *(f"- {name}" for name in license_names(overview)))
    yield from ("task_categories:", "- text-to-image", "size_categories:")
    yield f"- {size_category(overview.manifest.counts['kept'])}"
    yield from ("configs:", "- config_name: default", "  data_files:", "  - split: train")
    yield f"    path: {SHARDS_DIR}/*.tar"
    if overview.figures.schema is not None:
        yield from _features(overview.manifest.key.config["encode_format"], overview.figures.schema)


def _features(picture: str, schema: pa.Schema) -> Iterator[str]:
    """Give the types of a sample's members, which would else be guessed from the first five, nulls included."""
    yield from ("dataset_info:", "- config_name: default", "  features:")
    yield from (f"  - name: {picture}", "    dtype: image", "  - name: json", "    struct:")
    for column in schema:
        if column.name not in TABLE_ONLY:
            yield f"    - name: {quoted(column.name)}"
            yield f"      {_kind(column.type)}"
    for name in ("txt", "__key__", "__url__"):
        yield from (f"  - name: {name}", "    dtype: string")


def _kind(kind: pa.DataType) -> str:
    return f"list: {_dtype(kind.value_type)}" if pa.types.is_list(kind) else f"dtype: {_dtype(kind)}"


def _dtype(kind: pa.DataType) -> str:
    return _DTYPES.get(str(kind), str(kind))


def quoted(text: str) -> str:
    """Write a text as a YAML scalar; all but plain characters are spelled by number."""
    harmless = string.ascii_letters + string.digits + " !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
    return '"' + "".join(char if char in harmless else f"\\U{ord(char):08x}" for char in text) + '"'


def size_category(num_samples: int) -> str:
    """Name the power of ten as sharing sites do."""
    above = next((n for n in range(len(_SIZES)) if num_samples < 1000 * 10**n), len(_SIZES))
    if above == 0:
        return f"n<{_SIZES[0]}"
    return f"{_SIZES[above - 1]}<n<{_SIZES[above]}" if above < len(_SIZES) else f"n>{_SIZES[-1]}"


def license_names(overview: Overview) -> list[str]:
    """Name the licenses as sharing sites do: `other` where one has no such name or is not stated of all pictures."""
    stated = overview.licenses
    if not stated:
        return ["unknown"]
    names = [_license_name(text) for text, _ in stated]
    silent = overview.manifest.counts["kept"] - sum(number for _, number in stated)
    return ["other"] if silent or "" in names else sorted(set(names))


def _license_name(text: str) -> str:
    match = _LICENSE_URL.fullmatch(text)
    if match:
        name = f"cc-{match['terms']}-{match['version']}" if match["terms"] else f"cc0-{match['version']}"
    else:
        name = text.lower().replace(" ", "-")
    name = "cc0-1.0" if name == "cc0" else name
    return name if name in _KNOWN else ""


def _title(overview: Overview) -> str:
    return plain(f"Pictures and texts of {source_name(overview)}")


def _body(overview: Overview) -> str:
    counts = overview.manifest.counts
    licenses = [(text, f"{number:,}") for text, number in overview.licenses[:NUM_LICENSES]]
    reasons = [(reason, f"{number:,}") for reason, number in overview.rejected.items()]
    return _BODY.format(
        title=escaped(_title(overview)),
        samples=escaped(describe_samples(overview)),
        version=overview.manifest.code_version,
        digest=overview.manifest.digest,
        report=REPORT_NAME,
        croissant=CROISSANT_NAME,
        picture=overview.manifest.key.config["encode_format"],
        collection=escaped(describe_collection(overview)),
        hosts=escaped(name_hosts(overview)),
        reasons=_table(("left out because of", "sources"), reasons) or "No source was left out.",
        licenses=_table(("stated", "pictures"), licenses) or "Nothing was stated of any picture.",
        purged=Counts.read(counts).rejected.get("purged", 0),
    )


def escaped(text: str) -> str:
    """Write a text as one line of Markdown that is shown as it is: no markup, no HTML, no links."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(plain(text).split()))


def _table(head: Sequence[str], rows: Sequence[tuple[str, str]]) -> str:
    lines = (f"| {escaped(name)} | {number} |" for name, number in rows)
    return "\n".join((f"| {' | '.join(head)} |", "| --- | ---: |", *lines)) if rows else ""
