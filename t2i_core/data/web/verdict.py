"""What an answer of a server is worth: a body, a redirect, a refusal, or a failure that may pass."""

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from yarl import URL

from t2i_core.data.address import parse_url
from t2i_core.data.answer import Fetched, Unchanged, Validators
from t2i_core.data.manners import tdmrep
from t2i_core.data.manners.pace import retry_after_seconds, wait_seconds
from t2i_core.data.manners.robots import may_pass
from t2i_core.data.manners.signals import directives_for_us, opts_out, signals_text
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.web.body import decoded_body
from t2i_core.data.web.transport import Head, Response

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OVERLOADED = frozenset({RejectReason.HTTP_429, RejectReason.HTTP_5XX})
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})


class Want(Enum):
    """What a request is for, which decides what is refused."""

    PICTURE = "picture"
    PAGE = "page"
    SITEMAP = "sitemap"
    RULES = "rules"


@dataclass(frozen=True, slots=True)
class Asking:
    """As what something is asked for.

    Attributes:
        want: what it is for.
        known: the form of it that need not be sent, None for any.
    """

    want: Want
    known: Validators | None = None

    def conditions(self, url: URL) -> list[str]:
        """Give the headers that leave out of the answer of a URL what is known already."""
        return self.known.headers() if self.known is not None and self.known.url == str(url) else []


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another place to ask."""

    location: str


@dataclass(frozen=True, slots=True)
class Later:
    """A failure that may pass.

    Attributes:
        rejection: what it is when it does not.
        pause_seconds: for which nothing may be asked of the host, because it said so or is overloaded; 0.0 for none.
    """

    rejection: Rejection
    pause_seconds: float = 0.0


Answer = Fetched | Rejection | Redirect | Later | Unchanged


def verdict(
    url: URL, head: Head, asking: Asking, most: int, attempt: int
) -> Rejection | Redirect | Later | Unchanged | None:
    """Say what an answer is by its status and headers alone; None when its body is wanted."""
    status, location, want = head.status, head.first("location"), asking.want
    if status in _REDIRECTS and location:
        return Redirect(_join(url, location))

    directives = _directives(head)

    def refused(reason: RejectReason, detail: str = "") -> Rejection:
        return Rejection(reason, detail, http_status=status, final_url=str(url), signals=signals_text(directives))

    is_same = status == 304 and bool(asking.conditions(url))
    if status != 200 and not is_same:
        rejection = refused(*_status_reason(status))
        return Later(rejection, _pause_seconds(head, attempt)) if may_pass(status) else rejection
    if want is Want.PICTURE and opts_out(directives):
        return refused(RejectReason.OPT_OUT_HEADER)
    if want is Want.PICTURE and tdmrep.RESERVED in directives:
        return refused(RejectReason.TDM_RESERVED)
    if is_same:
        return Unchanged(str(url), directives)
    if want is Want.PAGE and _media_type(head) not in _PAGE_TYPES:
        return refused(RejectReason.NOT_A_PAGE)
    # A file of rules that is too long counts up to the limit, any other body does not count at all.
    if want is not Want.RULES and (head.length or 0) > most:
        return refused(RejectReason.TOO_MANY_BYTES)
    return None


def _pause_seconds(head: Head, attempt: int) -> float:
    """Say how long to leave the host alone: as it asks; who is overloaded and does not say gets some time too."""
    retry_after = head.first("retry-after")
    if retry_after_seconds(retry_after) is None and head.status not in (429, 503):
        return 0.0
    return wait_seconds(attempt, retry_after)


def fetched(url: URL, response: Response, want: Want, most: int) -> Fetched | Rejection:
    """Give the body of an answer whose head was found good, decoded up to a number of bytes."""
    head = response.head
    directives = _directives(head)
    body = decoded_body(response, most, may_be_cut=want is Want.RULES)
    if isinstance(body, RejectReason):
        return Rejection(body, http_status=head.status, final_url=str(url), signals=signals_text(directives))
    return Fetched(
        body,
        str(url),
        head.status,
        head.first("content-type"),
        directives,
        head.first("etag"),
        head.first("last-modified"),
    )


def _directives(head: Head) -> frozenset[str]:
    return frozenset(directives_for_us(head.all("x-robots-tag")) | tdmrep.reservation(head.all(tdmrep.FIELD)))


def _media_type(head: Head) -> str:
    return head.first("content-type").partition(";")[0].strip().lower()


def is_failure(answer: Answer) -> bool:
    """Tell whether a host seems to be down or overloaded."""
    rejection = answer.rejection if isinstance(answer, Later) else answer
    return isinstance(rejection, Rejection) and (rejection.reason.is_unreachable or rejection.reason in _OVERLOADED)


def _join(base: URL, location: str) -> str:
    try:
        return str(base.join(parse_url(location)))
    except ValueError:
        return ""


def _status_reason(status: int) -> tuple[RejectReason, str]:
    """Sort a status into a reason, with the message that img2dataset stores for it."""
    try:
        message = f"HTTP Error {status}: {HTTPStatus(status).phrase}"
    except ValueError:
        message = f"HTTP Error {status}"
    if status == 429:
        return RejectReason.HTTP_429, message
    if 400 <= status < 500:
        return RejectReason.HTTP_4XX, message
    if 500 <= status < 600:
        return RejectReason.HTTP_5XX, message
    return RejectReason.HTTP_OTHER, message


def is_waste(answer: Answer) -> bool:
    """Tell whether the time for an answer was for nothing, as far as its host goes."""
    return is_failure(answer) or (isinstance(answer, Rejection) and answer.reason is RejectReason.BAD_RESPONSE)
