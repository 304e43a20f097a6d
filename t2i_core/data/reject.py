"""Why a sample was left out: a closed list, so that kept + rejected == seen and every reject can be counted."""

from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from typing import Self


class _Is(Flag):
    """What holds of a reason; each trait with those that follow from it."""

    PLAIN = 0
    ABOUT_PIXELS = auto()
    MAY_PASS = auto()
    _DOWN = auto()
    OUTAGE = _DOWN | MAY_PASS
    _UNREACHED = auto()
    UNREACHABLE = _UNREACHED | OUTAGE
    GIVEN_UP = auto()
    REFUSAL = auto()
    PAST = auto()


class RejectReason(StrEnum):
    """One word for each way in which a picture can fail to become a sample, with what it means and what holds of it.

    Where img2dataset has a fixed message for the same thing, it is used word for word: its readers count them.

    Attributes:
        meaning: one line for a person.
        traits: what holds of it.
    """

    meaning: str
    traits: _Is

    def __new__(cls, word: str, meaning: str = "", traits: _Is = _Is.PLAIN) -> Self:
        """Make a member, which is its word."""
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.meaning, reason.traits = meaning, traits
        return reason

    BAD_ROW = "bad_row", "the row of the list cannot be read"
    BAD_URL = "bad_url", "not a usable URL"
    BAD_SCHEME = "bad_scheme", "only http and https are fetched"
    DUPLICATE_URL = "duplicate_url", "same URL and caption as an earlier row"
    FILTERED = "filtered", "the filter leaves it out"
    NOT_STORED = "not_stored", "it is not in the archive or folder, and nothing is to be fetched"
    PRIVATE_ADDRESS = (
        "private_address",
        "the host is not on the public internet (--allow-private HOST lets it be asked)",
    )
    DENIED = "denied", "it is on the deny-list", _Is.REFUSAL
    ROBOTS = "robots", "robots.txt does not allow it", _Is.REFUSAL
    ROBOTS_UNAVAILABLE = "robots_unavailable", "robots.txt cannot be had just now, so nothing is asked for", _Is.OUTAGE
    AI_TXT = "ai_txt", "ai.txt does not allow it", _Is.REFUSAL
    TDM_RESERVED = "tdm_reserved", "its text and data mining rights are reserved (TDMRep)", _Is.REFUSAL
    OPT_OUT_HEADER = "opt_out_header", "Use of image disallowed by X-Robots-Tag directive", _Is.REFUSAL
    OPT_OUT_PAGE = "opt_out_page", "the page asks not to use its pictures", _Is.REFUSAL
    DNS = "dns", "the host name cannot be resolved", _Is.UNREACHABLE
    CONNECT = "connect", "no connection, or it broke", _Is.UNREACHABLE
    TLS = "tls", "the TLS certificate or handshake is not valid", _Is.UNREACHABLE
    TIMEOUT = "timeout", "no complete answer in time", _Is.UNREACHABLE
    HOST_UNREACHABLE = (
        "host_unreachable",
        "the host failed too many times in a row and was left alone",
        _Is.UNREACHABLE | _Is.GIVEN_UP,
    )
    OUT_OF_TIME = "out_of_time", "the time for the whole ingest was up before it was there", _Is.OUTAGE | _Is.GIVEN_UP
    HTTP_4XX = "http_4xx", "the server refused the request", _Is.MAY_PASS
    HTTP_429 = "http_429", "the server kept asking to slow down", _Is.OUTAGE
    HTTP_5XX = "http_5xx", "the server failed", _Is.OUTAGE
    HTTP_OTHER = "http_other", "the server gave no picture with an unusual status", _Is.MAY_PASS
    BAD_RESPONSE = "bad_response", "the answer breaks HTTP or uses an unknown encoding", _Is.MAY_PASS
    TOO_MANY_REDIRECTS = "too_many_redirects", "redirected too many times", _Is.MAY_PASS
    TOO_MANY_BYTES = "too_many_bytes", "more bytes than allowed"
    NOT_A_PAGE = "not_a_page", "not an HTML page"
    PAGE_TOO_COMPLEX = "page_too_complex", "reading the page takes too much time or memory"
    UNREADABLE = "unreadable", "the local file cannot be read"
    HASH_MISMATCH = "hash_mismatch", "hash mismatch", _Is.MAY_PASS
    NOT_AN_IMAGE = "not_an_image", "the bytes are not a picture", _Is.ABOUT_PIXELS | _Is.MAY_PASS
    UNSUPPORTED_FORMAT = "unsupported_format", "a picture format that is not read", _Is.ABOUT_PIXELS
    TRUNCATED = "truncated", "the picture breaks off", _Is.ABOUT_PIXELS | _Is.MAY_PASS
    DECODE_ERROR = "decode_error", "Image decoding error", _Is.ABOUT_PIXELS
    DECODER_FAILED = (
        "decoder_failed",
        "the decoder crashed on it, hung, or ran out of memory",
        _Is.ABOUT_PIXELS | _Is.OUTAGE,
    )
    TOO_SMALL = "too_small", "image too small", _Is.ABOUT_PIXELS
    TOO_MANY_PIXELS = "too_many_pixels", "image area too large", _Is.ABOUT_PIXELS
    BAD_ASPECT = "bad_aspect", "aspect ratio too large", _Is.ABOUT_PIXELS
    BLANK = "blank", "one color and nothing else", _Is.ABOUT_PIXELS
    ANIMATED = "animated", "it has several frames", _Is.ABOUT_PIXELS
    BAD_BOXES = "bad_boxes", "the boxes to blur cannot be read", _Is.ABOUT_PIXELS
    PURGED = "purged", "removed on request"
    GONE = "gone", "its source does not name it any more", _Is.PAST
    REPLACED = "replaced", "a newer form of it is kept under another key", _Is.PAST

    @property
    def is_about_pixels(self) -> bool:
        """Whether the bytes arrived but the picture was refused (img2dataset's `failed_to_resize`)."""
        return _Is.ABOUT_PIXELS in self.traits

    @property
    def status(self) -> str:
        """The stage at which it was left out, in img2dataset's words; what was there once has words of its own."""
        if self is RejectReason.PURGED or self.is_past:
            return str(self)
        return "failed_to_resize" if self.is_about_pixels else "failed_to_download"

    @property
    def is_unreachable(self) -> bool:
        """Whether the host could not be reached at all, so that trying later may help."""
        return _Is.UNREACHABLE in self.traits

    @property
    def is_outage(self) -> bool:
        """Whether a host, the network or a decoder was down just then, so that a run that goes on tries again."""
        return _Is.OUTAGE in self.traits

    @property
    def is_given_up(self) -> bool:
        """Whether it was left without being asked for, because a whole host was given up or the time was up."""
        return _Is.GIVEN_UP in self.traits

    @property
    def is_refusal(self) -> bool:
        """Whether whom it belongs to, or a list kept for them, said that it is not to be taken."""
        return _Is.REFUSAL in self.traits

    @property
    def is_past(self) -> bool:
        """Whether it was in an earlier version of the dataset, and its row stays for the sake of the keys."""
        return _Is.PAST in self.traits

    @property
    def may_pass(self) -> bool:
        """Whether asking for the picture again may end otherwise; who denied it once is not asked again."""
        return _Is.MAY_PASS in self.traits


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
