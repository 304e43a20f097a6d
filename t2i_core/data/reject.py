"""Why a sample was left out: a closed list, so that kept + rejected == seen and every reject can be counted."""

from dataclasses import dataclass
from enum import StrEnum


class RejectReason(StrEnum):
    """One word for each way in which a picture can fail to become a sample."""

    BAD_ROW = "bad_row"
    BAD_URL = "bad_url"
    BAD_SCHEME = "bad_scheme"
    DUPLICATE_URL = "duplicate_url"
    FILTERED = "filtered"
    NOT_STORED = "not_stored"
    PRIVATE_ADDRESS = "private_address"
    DENIED = "denied"
    ROBOTS = "robots"
    ROBOTS_UNAVAILABLE = "robots_unavailable"
    AI_TXT = "ai_txt"
    TDM_RESERVED = "tdm_reserved"
    OPT_OUT_HEADER = "opt_out_header"
    OPT_OUT_PAGE = "opt_out_page"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    HOST_UNREACHABLE = "host_unreachable"
    OUT_OF_TIME = "out_of_time"
    HTTP_4XX = "http_4xx"
    HTTP_429 = "http_429"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    BAD_RESPONSE = "bad_response"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_A_PAGE = "not_a_page"
    PAGE_TOO_COMPLEX = "page_too_complex"
    UNREADABLE = "unreadable"
    HASH_MISMATCH = "hash_mismatch"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    DECODE_ERROR = "decode_error"
    DECODER_FAILED = "decoder_failed"
    TOO_SMALL = "too_small"
    TOO_MANY_PIXELS = "too_many_pixels"
    BAD_ASPECT = "bad_aspect"
    BLANK = "blank"
    ANIMATED = "animated"
    BAD_BOXES = "bad_boxes"
    PURGED = "purged"

    @property
    def meaning(self) -> str:
        """One line for a person."""
        return _MEANINGS[self]

    @property
    def is_about_pixels(self) -> bool:
        """Whether the bytes arrived but the picture was refused (img2dataset's `failed_to_resize`)."""
        return self in _ABOUT_PIXELS

    @property
    def status(self) -> str:
        """The stage at which it was left out, in img2dataset's words; what was purged has a word of its own."""
        if self is RejectReason.PURGED:
            return "purged"
        return "failed_to_resize" if self.is_about_pixels else "failed_to_download"

    @property
    def is_unreachable(self) -> bool:
        """Whether the host could not be reached at all, so that trying later may help."""
        return self in _UNREACHABLE

    @property
    def is_outage(self) -> bool:
        """Whether a host, the network or a decoder was down just then, so that a run that goes on tries again."""
        return self in _OUTAGES

    @property
    def is_given_up(self) -> bool:
        """Whether it was left without being asked for, because a whole host was given up or the time was up."""
        return self in _GIVEN_UP

    @property
    def is_refusal(self) -> bool:
        """Whether whom it belongs to, or a list kept for them, said that it is not to be taken."""
        return self in _REFUSALS

    @property
    def may_pass(self) -> bool:
        """Whether asking for the picture again may end otherwise; who denied it once is not asked again."""
        return self in _MAY_PASS


# Where img2dataset has a fixed message for the same thing, it is used word for word: its readers count them.
_MEANINGS = {
    RejectReason.BAD_ROW: "the row of the list cannot be read",
    RejectReason.BAD_URL: "not a usable URL",
    RejectReason.BAD_SCHEME: "only http and https are fetched",
    RejectReason.DUPLICATE_URL: "same URL and caption as an earlier row",
    RejectReason.FILTERED: "the filter leaves it out",
    RejectReason.NOT_STORED: "it is not in the archive or folder, and nothing is to be fetched",
    RejectReason.PRIVATE_ADDRESS: "the host is not on the public internet (--allow-private HOST lets it be asked)",
    RejectReason.DENIED: "it is on the deny-list",
    RejectReason.ROBOTS: "robots.txt does not allow it",
    RejectReason.ROBOTS_UNAVAILABLE: "robots.txt cannot be had just now, so nothing is asked for",
    RejectReason.AI_TXT: "ai.txt does not allow it",
    RejectReason.TDM_RESERVED: "its text and data mining rights are reserved (TDMRep)",
    RejectReason.OPT_OUT_HEADER: "Use of image disallowed by X-Robots-Tag directive",
    RejectReason.OPT_OUT_PAGE: "the page asks not to use its pictures",
    RejectReason.DNS: "the host name cannot be resolved",
    RejectReason.CONNECT: "no connection, or it broke",
    RejectReason.TLS: "the TLS certificate or handshake is not valid",
    RejectReason.TIMEOUT: "no complete answer in time",
    RejectReason.HOST_UNREACHABLE: "the host failed too many times in a row and was left alone",
    RejectReason.OUT_OF_TIME: "the time for the whole ingest was up before it was there",
    RejectReason.HTTP_4XX: "the server refused the request",
    RejectReason.HTTP_429: "the server kept asking to slow down",
    RejectReason.HTTP_5XX: "the server failed",
    RejectReason.HTTP_OTHER: "the server gave no picture with an unusual status",
    RejectReason.BAD_RESPONSE: "the answer breaks HTTP or uses an unknown encoding",
    RejectReason.TOO_MANY_REDIRECTS: "redirected too many times",
    RejectReason.TOO_MANY_BYTES: "more bytes than allowed",
    RejectReason.NOT_A_PAGE: "not an HTML page",
    RejectReason.PAGE_TOO_COMPLEX: "reading the page takes too much time or memory",
    RejectReason.UNREADABLE: "the local file cannot be read",
    RejectReason.HASH_MISMATCH: "hash mismatch",
    RejectReason.NOT_AN_IMAGE: "the bytes are not a picture",
    RejectReason.UNSUPPORTED_FORMAT: "a picture format that is not read",
    RejectReason.TRUNCATED: "the picture breaks off",
    RejectReason.DECODE_ERROR: "Image decoding error",
    RejectReason.DECODER_FAILED: "the decoder crashed on it, hung, or ran out of memory",
    RejectReason.TOO_SMALL: "image too small",
    RejectReason.TOO_MANY_PIXELS: "image area too large",
    RejectReason.BAD_ASPECT: "aspect ratio too large",
    RejectReason.BLANK: "one color and nothing else",
    RejectReason.ANIMATED: "it has several frames",
    RejectReason.BAD_BOXES: "the boxes to blur cannot be read",
    RejectReason.PURGED: "removed on request",
}
_ABOUT_PIXELS = frozenset(
    {
        RejectReason.NOT_AN_IMAGE,
        RejectReason.UNSUPPORTED_FORMAT,
        RejectReason.TRUNCATED,
        RejectReason.DECODE_ERROR,
        RejectReason.DECODER_FAILED,
        RejectReason.TOO_SMALL,
        RejectReason.TOO_MANY_PIXELS,
        RejectReason.BAD_ASPECT,
        RejectReason.BLANK,
        RejectReason.ANIMATED,
        RejectReason.BAD_BOXES,
    }
)
_UNREACHABLE = frozenset(
    {
        RejectReason.DNS,
        RejectReason.CONNECT,
        RejectReason.TLS,
        RejectReason.TIMEOUT,
        RejectReason.HOST_UNREACHABLE,
    }
)
_OUTAGES = _UNREACHABLE | {
    RejectReason.OUT_OF_TIME,
    RejectReason.ROBOTS_UNAVAILABLE,
    RejectReason.HTTP_429,
    RejectReason.HTTP_5XX,
    RejectReason.DECODER_FAILED,
}
_GIVEN_UP = frozenset({RejectReason.HOST_UNREACHABLE, RejectReason.OUT_OF_TIME})
_REFUSALS = frozenset(
    {
        RejectReason.DENIED,
        RejectReason.ROBOTS,
        RejectReason.AI_TXT,
        RejectReason.TDM_RESERVED,
        RejectReason.OPT_OUT_HEADER,
        RejectReason.OPT_OUT_PAGE,
    }
)
_MAY_PASS = _OUTAGES | {
    RejectReason.HTTP_4XX,
    RejectReason.HTTP_OTHER,
    RejectReason.BAD_RESPONSE,
    RejectReason.TOO_MANY_REDIRECTS,
    RejectReason.NOT_AN_IMAGE,
    RejectReason.TRUNCATED,
    RejectReason.HASH_MISMATCH,
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A sample left out.

    Attributes:
        reason: which of the closed list.
        detail: the message stored with the row; the reason's meaning when there is nothing to add. It never depends on
            time or chance, so that equal inputs give equal tables.
        http_status: of the last answer, 0 when there was none.
        final_url: where redirects led, "" when nothing was asked.
        signals: opt-out signals and other directives of the last answer, sorted, separated by commas.
    """

    reason: RejectReason
    detail: str = ""
    http_status: int = 0
    final_url: str = ""
    signals: str = ""

    @property
    def message(self) -> str:
        """What went wrong, in one line."""
        return self.detail or self.reason.meaning
