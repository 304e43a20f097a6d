"""ai.txt, Spawning's file for pictures that are not to be trained on: in the language of robots.txt, by file type."""

from protego import Protego
from yarl import URL

from t2i_core.data.manners.robots import TOO_MANY_RULES, RobotsAnswer, weight_of
from t2i_core.data.manners.robots_text import TooManyRulesError, text_for
from t2i_core.data.manners.signals import PRODUCT_TOKEN
from t2i_core.data.reject import Rejection, RejectReason

PATH = "/ai.txt"


class AiTxtRules:
    """What an origin's ai.txt disallows; a file that is not there, or is a page, disallows nothing."""

    def __init__(self, answer: RobotsAnswer) -> None:
        is_file = answer.status == 200 and "html" not in answer.content_type.lower()
        self._rules: Protego | None = None
        self._is_too_long = False
        self.weight = weight_of("")
        if is_file:
            try:
                text = text_for(answer.text, PRODUCT_TOKEN)
                self._rules = Protego.parse(text)
                self.weight = weight_of(text)
            except TooManyRulesError:
                self._is_too_long = True

    def refusal(self, url: URL) -> Rejection | None:
        """Say that the picture at the URL is disallowed, or None when it is not."""
        if self._is_too_long:
            return Rejection(RejectReason.AI_TXT, TOO_MANY_RULES)
        if self._rules is None or self._rules.can_fetch(str(url), PRODUCT_TOKEN):
            return None
        return Rejection(RejectReason.AI_TXT)
