"""The options of an ingest, and which of them decide what comes out of it.

What reads a source or asks for pictures is imported only where it is used, so that help and refusals come at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator, model_validator

from t2i_core.config import Config
from t2i_core.data.manners.denylist import NOTHING_DENIED, DenyList
from t2i_core.data.picture import EncodeFormat, ImageOptions, Resampling, ResizeMode, TruncatedPolicy
from t2i_core.data.web.private_hosts import PrivateHosts
from t2i_core.errors import ConfigError
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepKey
from t2i_core.ingestion.limits import parse_limits
from t2i_core.ingestion.row_filter import MAX_FILTER_CHARS, RowFilter

if TYPE_CHECKING:
    from t2i_core.data.sources.source import SourceOptions
    from t2i_core.data.web.fetch import FetchOptions

INGEST_VERSION = 4
# How fast and how patiently to ask does not decide what a data set holds.
_VOLATILE = frozenset(
    {
        "connections",
        "connections_per_host",
        "delay_seconds",
        "timeout_seconds",
        "retries",
        "max_minutes",
        "contact",
        "min_success_rate",
        "max_reject_share",
        "vouched_days",
        "keep_versions",
    }
)
# Earlier ones that a dataset may hold.
MAX_VERSIONS = 1000
# Named beside the source, and known by their content.
BESIDE = ("deny_list", "captions_from", "sidecars_from")


# The options by the heading that they stand under in the help of commands and in forms.
INGEST_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "What the source holds": (
            *("pages", "offline", "url_column", "caption_column", "hash_column", "blur_column"),
            *("sidecars_from", "captions_from", "filter", "sitemaps", "max_pages", "max_depth", "max_crawl_minutes"),
            "keep_undescribed",
        ),
        "How pictures are stored": (
            *("image_size", "resize_mode", "resampling", "resize_only_if_bigger", "encode_format", "encode_quality"),
            *("skip_reencode", "extract_exif", "background", "crop_transparent", "samples_per_shard"),
        ),
        "Which pictures are kept": (
            *("min_image_size", "max_aspect_ratio", "max_pixels", "max_bytes", "truncated", "reject_blank"),
            *("reject_animated", "min_success_rate", "max_reject_share"),
        ),
        "How hosts are asked": (
            *("connections", "connections_per_host", "delay_seconds", "timeout_seconds", "retries", "contact"),
            *("allow_private", "deny_list", "opt_out_files", "max_minutes"),
        ),
        "When it is refreshed": ("vouched_days", "keep_versions"),
    }
)


class IngestConfig(Config):
    """What to take from a source, how to store it, and how to ask for it."""

    image_size: int = Field(256, ge=1, le=8192, description="side that the resize mode names, in pixels")
    resize_mode: ResizeMode = Field(
        "center_crop",
        description="border: fit the longest side, pad to a square; keep_ratio: fit the shortest side; "
        "keep_ratio_largest: fit the longest side; center_crop: fit the shortest side, cut a square; no: as it is",
    )
    resampling: Resampling = Field(
        "fast",
        description="filter to resize with, from the sharpest to the fastest: lanczos, bicubic, hamming; "
        "fast: straight lines between neighbours for jpg, whose decoder averages already, bicubic for the rest",
    )
    resize_only_if_bigger: bool = Field(False, description="leave pictures alone that are smaller than --image-size")
    encode_format: EncodeFormat = Field("jpg", description="format of the stored pictures; png is lossless")
    encode_quality: int = Field(95, ge=1, le=100, description="quality of jpg and webp, 1 to 100; png ignores it")
    skip_reencode: bool = Field(
        False,
        description="store a picture as its own bytes that has the asked format and size already and holds nothing but "
        "8-bit RGB pixels: no EXIF, comment, profile or alpha, one frame, nothing behind its end, nothing to blur; "
        "it is decoded and checked all the same; all others are encoded",
    )
    extract_exif: bool = Field(
        False,
        description="keep the EXIF of each source as JSON, up to 16 kB, in a column exif; without GPS, which says "
        "where people live, and without thumbnails and makers' notes; it may name people and their devices",
    )
    samples_per_shard: int = Field(1000, ge=1, le=100_000, description="sources in one shard, rejected ones included")
    pages: bool = Field(
        False, description="the source is a list of page URLs, not of picture URLs, or a folder of saved pages"
    )
    offline: bool = Field(
        False, description="fetch nothing: pictures that an archive or a folder of saved pages lacks are rejected"
    )
    url_column: str = Field("url", min_length=1, description="column of a list that holds the URLs")
    caption_column: str = Field("caption", description="column of a list that holds the captions; empty for none")
    hash_column: str = Field(
        "",
        description="column of a list that holds md5, sha1, sha256 or sha512 of each picture's bytes, in hexadecimal; "
        "pictures with another are rejected, rows without one too; empty for none",
    )
    sidecars_from: str = Field(
        "",
        description="folder of the same shape as the source's, a folder of pictures, whose files describe its pictures "
        "by their names: a.txt, a.caption, a.json, or an SVG drawing a.svg by its own metadata; empty for the files "
        "beside the pictures",
    )
    captions_from: str = Field(
        "",
        description="table, or folder or glob of them, of new captions, joined by its column uid, or else by its "
        "url_column; what it has no caption for keeps its own; further columns are passed through; empty for none",
    )
    filter: str = Field(
        "",
        max_length=MAX_FILTER_CHARS,
        description='what to keep, by columns of the source and of the table of captions, such as "width >= 256 and '
        "similarity >= 0.3 and nsfw != 'NSFW'\": >=, <=, >, <, ==, !=, in, and, or, not; empty for everything",
    )
    background: str = Field(
        "#ffffff", pattern="^#[0-9a-fA-F]{6}$", description="color below transparent pixels and of borders, as #rrggbb"
    )
    crop_transparent: bool = Field(
        False,
        description="cut away what is transparent around a picture before it is fitted; limits of size and shape hold "
        "for what is left, and what is transparent all over is blank",
    )
    truncated: TruncatedPolicy = Field(
        "reject", description="pictures that break off: reject them, or keep what arrived (jpg, png, gif, bmp)"
    )
    reject_blank: bool = Field(
        True, description="leave out pictures of one color or nearly: every channel deviates less than 2 of 255 levels"
    )
    reject_animated: bool = Field(False, description="leave out animations; else their first frame is taken")
    blur_column: str = Field(
        "",
        description="column of a list, or of existing shards, with boxes to blur, such as faces: a JSON list of "
        "[x_min, y_min, x_max, y_max], each 0 to 1 of the upright picture; a picture whose boxes cannot be read is "
        "rejected, an empty cell means no boxes; empty for none",
    )
    min_image_size: int = Field(16, ge=0, description="shortest side of a picture to keep, in pixels")
    max_aspect_ratio: float = Field(4.0, ge=1, allow_inf_nan=False, description="longest side over shortest, at most")
    max_pixels: int = Field(89_000_000, ge=1, le=89_000_000, description="width times height of a picture, at most")
    max_bytes: int = Field(20_000_000, ge=1000, le=1_000_000_000, description="size of one picture or page, in bytes")
    max_pages: int = Field(1000, ge=1, description="pages to fetch at most")
    max_depth: int = Field(1000, ge=0, description="links to follow away from a start page; 0 for none")
    max_crawl_minutes: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="time for reading pages, in minutes; 0 for no limit"
    )
    max_minutes: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="time for asking the web, half of it at most for reading pages, in minutes; what has not come by "
        "then is left out as out_of_time, for a later --retry out_of_time; 0 for no limit",
    )
    sitemaps: bool = Field(False, description="also start from the pages that the sites list in their sitemaps")
    keep_undescribed: bool = Field(
        False,
        description="also take pictures of pages that nothing describes, without a text: those marked as decoration, "
        "and links in listings of files; else they are counted and left out",
    )
    allow_private: tuple[str, ...] = Field(
        (),
        description="host, address or network, such as nas.local, 192.168.1.7 or 10.0.0.0/8, to ask although it is not "
        "on the public internet; localhost for this machine; again, or with commas, for more; where clouds keep their "
        "machines' credentials is never asked",
    )
    connections: int = Field(64, ge=1, le=4096, description="requests in flight at once")
    connections_per_host: int = Field(8, ge=1, le=1024, description="requests in flight at once to one host")
    delay_seconds: float = Field(0.0, ge=0, le=3600, description="pause between two requests to one host, in seconds")
    timeout_seconds: float = Field(20.0, gt=0, le=3600, description="time for one picture or page, in seconds")
    retries: int = Field(
        2, ge=0, le=10, description="further tries when a host is busy, slow or broken, or its answer breaks off"
    )
    deny_list: str = Field(
        "",
        description="text file, or folder of them, of what must not be taken: a domain, a URL prefix, or a sha256 or "
        "md5 of source bytes a line; empty for none",
    )
    opt_out_files: bool = Field(
        True,
        description="read each site's tdmrep.json and ai.txt too, two requests more to each host; only for lists whose "
        "owners' reservations were looked up before can it be left",
    )
    contact: str = Field("", pattern=r"^[!-~]*$", description="address or page for complaints, put into the user agent")
    min_success_rate: float = Field(
        0.0, ge=0, le=1, description="share of sources that must be kept, 0 to 1, or it fails"
    )
    max_reject_share: tuple[str, ...] = Field(
        (),
        max_length=100,
        description="share of sources that may be rejected for one reason, or it fails, such as timeout=0.1",
    )

    vouched_days: float = Field(
        30.0,
        ge=0,
        le=3650,
        description="for --refresh: so long the word of a sitemap (lastmod) or of a list (hash_column) is enough that "
        "something is unchanged, after its server last answered, in days; 0 to ask always",
    )
    keep_versions: int = Field(
        3, ge=0, le=MAX_VERSIONS, description="for --refresh: earlier versions of the dataset that stay in its folder"
    )

    @field_validator("allow_private", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, bool):
            if value:
                raise ValueError('name the hosts that may be asked, such as ["localhost"] for this machine')
            return ()
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, Sequence) or not all(isinstance(entry, str) for entry in entries):
            return value
        hosts = [host.strip() for entry in entries for host in entry.split(",") if host.strip()]
        PrivateHosts.parse(hosts)
        return hosts

    @field_validator("max_reject_share")
    @classmethod
    def _limits(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        parse_limits(entries)
        return entries

    @model_validator(mode="after")
    def _boxes_have_a_place(self) -> Self:
        if self.crop_transparent and self.blur_column:
            raise ValueError("boxes to blur are parts of the whole picture: leave out blur_column or crop_transparent")
        return self

    @field_validator("filter")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            if text:
                RowFilter.parse(text)
        except ConfigError as err:
            raise ValueError(str(err)) from err
        return text

    def ends_at(self) -> float | None:
        """Give the time of day, in seconds since 1970, at which an ingest that starts now is to end; None for never."""
        return time() + self.max_minutes * 60 if self.max_minutes else None

    def crawl_seconds(self) -> float:
        """Give the time for reading pages, 0.0 for no limit."""
        limits = [seconds for seconds in (self.max_crawl_minutes * 60, self.max_minutes * 30) if seconds]
        return min(limits, default=0.0)

    def reading(self) -> "SourceOptions":
        """Give the part about reading sources."""
        from t2i_core.data.sources.source import SourceOptions

        names = SourceOptions.__dataclass_fields__.keys() - {"max_seconds"}
        return SourceOptions(max_seconds=self.crawl_seconds(), **{name: getattr(self, name) for name in names})

    def fetching(self, denied: DenyList) -> "FetchOptions":
        """Give the part about asking.

        Args:
            denied: what must not be taken.
        """
        from t2i_core.data.web.fetch import FetchOptions

        names = set(FetchOptions.__dataclass_fields__) & set(type(self).model_fields) - {"deny_list"}
        return FetchOptions(deny_list=denied, **{name: getattr(self, name) for name in names})

    def denied(self) -> DenyList:
        """Read the deny-list.

        Raises:
            ConfigError: it cannot be read.
        """
        return DenyList.read(Path(self.deny_list)) if self.deny_list else NOTHING_DENIED

    def pictures(self) -> ImageOptions:
        """Give the part about pixels."""
        from t2i_core.data.sources.cells import free_name

        names = (*ImageOptions.__dataclass_fields__,)
        blur_column = free_name(self.blur_column) if self.blur_column else ""
        return ImageOptions(**{name: getattr(self, name) for name in names} | {"blur_column": blur_column})


def ingest_key(source: str, config: IngestConfig, source_digest: str | None = None) -> StepKey:
    """Say what decides the data set; nothing but remote lists is asked over the network, for their versions.

    Args:
        source: lists, a folder of pictures, saved pages or shards, archives, or an http(s) page.
        config: the options; those of speed and patience do not count.
        source_digest: stands for the content of a source that is known to be the same under another address.

    Raises:
        ConfigError: there is no such source, or the deny-list or the table of captions cannot be read.
    """
    from t2i_core.data.sources.open import open_source

    return key_of(config, source_digest or open_source(source, config.reading()).identity(), config.denied())


def key_of(config: IngestConfig, source_digest: str, denied: DenyList) -> StepKey:
    """Say what decides the data set, of a source and a deny-list that were read already.

    Raises:
        ConfigError: the table of captions or the folder of sidecars cannot be read.
    """
    from t2i_core.data.sources.folder import identity_of_pictures
    from t2i_core.data.sources.open import open_source

    # Without what came later the key is as it was before, so that datasets made then are still theirs.
    later = set() if config.crop_transparent else {"crop_transparent"}
    options = config.model_dump(mode="json", exclude={*_VOLATILE, *BESIDE, *later})
    # No host is written as it was when there was nothing to name, so that data sets made then are still theirs.
    options["allow_private"] = options["allow_private"] or False
    inputs = {"source": source_digest}
    if config.deny_list:
        inputs["deny_list"] = denied.digest
    if config.captions_from:
        # A table of captions is one of pictures, whatever the source is.
        reading = config.with_changes(pages=False, sidecars_from="").reading()
        inputs["captions_from"] = open_source(config.captions_from, reading).identity()
    if config.sidecars_from:
        inputs["sidecars_from"] = identity_of_pictures(config.sidecars_from)
    return StepKey(step="ingest", version=INGEST_VERSION, config=options, inputs=inputs)


class IngestRequest(Config):
    """What `ingest` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        source: as a person named it.
        config: how to fetch, check and store the pictures.
        output_dir: the dataset folder.
        source_digest: stands for the content of a source that is known to be the same under another address.
        on_conflict: what to do with a folder that holds other work.
        refresh: look again at the source of a dataset that is finished, and make a new version of it if need be.
    """

    source: str
    config: IngestConfig
    output_dir: Path
    source_digest: str | None = None
    on_conflict: OnConflict = "refuse"
    refresh: bool = False
