"""Why a picture on a page was not listed."""

from enum import StrEnum


class Unlisted(StrEnum):
    """Why a picture of a page becomes no row of the dataset: a closed list, so that each is counted."""

    DECORATION = "decoration"
    ICON = "icon"
    SVG = "svg"
    NO_TEXT = "no_text"
    TRACKING_PIXEL = "tracking_pixel"
    DATA_URI = "data_uri"
    NO_ADDRESS = "no_address"
    OVER_LIMIT = "over_limit"

    @property
    def meaning(self) -> str:
        """One line for a person."""
        return _MEANINGS[self]

    @property
    def can_be_kept(self) -> bool:
        """Whether it can be listed all the same, without a text."""
        return self in (Unlisted.DECORATION, Unlisted.ICON, Unlisted.SVG, Unlisted.NO_TEXT)


_MEANINGS = {
    Unlisted.DECORATION: 'marked as decoration (alt="", role, aria-hidden), and no caption stands beside it',
    Unlisted.ICON: "the same, and declared to be no larger than 32 pixels",
    Unlisted.SVG: "the same, and a drawing in SVG",
    Unlisted.NO_TEXT: "a link in a listing of files, with no text but the name of the file",
    Unlisted.TRACKING_PIXEL: "declared to be one pixel large, without a text",
    Unlisted.DATA_URI: "it lies in the page itself (data:), often as a placeholder",
    Unlisted.NO_ADDRESS: "it has no address that can be asked for",
    Unlisted.OVER_LIMIT: "the page holds more pictures or more text than is taken from one page",
}

PREFIX = "unlisted:"
