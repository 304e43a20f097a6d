"""From what a person names to a source: which kind it is of is asked here, once, and nowhere else."""

from pathlib import Path
from pkgutil import resolve_name

from t2i_core.data.sources.source import Source, SourceOptions
from t2i_core.data.tables.list_files import source_errors
from t2i_core.data.tables.list_format import LIST_NAMES
from t2i_core.errors import ConfigError

KINDS = {
    "page": "t2i_core.data.sources.pages:Page",
    "page_list": "t2i_core.data.sources.pages:PageList",
    "list": "t2i_core.data.sources.lists:UrlList",
    "saved_pages": "t2i_core.data.sources.saved_pages:SavedPages",
    "shards": "t2i_core.data.sources.shards:Shards",
    "folder": "t2i_core.data.sources.folder:PictureFolder",
    "archives": "t2i_core.data.sources.archive:Archives",
}
"""Each kind with its class, asked in this order; by name, so that no run waits for readers that it does not use."""


def open_source(name: str, options: SourceOptions, kind: str = "") -> Source:
    """Open what a person has named.

    An http(s) URL is a page. Any other URL (s3://, gs://, ...) is a list, a folder of lists, or a pattern of them; so
    is a file, and a name with *, ? or [ in it that no file has. Where the files end in .warc or .warc.gz they are
    archives instead. A local folder whose every entry is a list by its name is a folder of lists (entries that start
    with "." or "_" do not count); one with tars in it holds shards, one with archives in it archives; any other is a
    folder of pictures, or of saved pages.

    Args:
        name: a path, a pattern or a URL.
        options: how to read it.
        kind: its kind, where that is known; then nothing is looked at.

    Raises:
        ConfigError: it does not exist, or it is nothing that can be ingested.
        TransientError: a remote store does not answer.
    """
    for known in [kind] if kind else KINDS:
        found: type[Source] = resolve_name(KINDS[known])
        with source_errors(name):
            if kind or found.fits(name, options):
                return found(known, name, options)
    if not Path(name).exists():
        raise ConfigError(f"no such source: {name}. Give a URL list, a folder of pictures, or an http(s) page.")
    raise ConfigError(f"{name} is not a URL list: its name must end in one of {LIST_NAMES}.")
