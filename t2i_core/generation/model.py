"""A finished run or system as a function of a prompt, and pictures that show themselves in a notebook."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from t2i_core.errors import ConfigError
from t2i_core.generation.asked import image_seed, refuse_ignored, refuse_unknown_words
from t2i_core.generation.config import DrawConfig, GenerateConfig
from t2i_core.generation.generator import DEFAULTS, load_generator
from t2i_core.report.pictures import side_by_side

MAX_COLUMNS = 8
# Small pictures are shown larger, with hard edges, as they would otherwise be thumbnails on today's screens.
SHOWN_SIDE = 128


class Pictures(list[Image.Image]):
    """Drawn pictures in order, prompt by prompt; an ordinary list that a notebook shows as a grid.

    Attributes:
        prompts: the prompt of each picture.
    """

    def __init__(self, pictures: Iterable[Image.Image], prompts: Sequence[str]) -> None:
        super().__init__(pictures)
        self.prompts = list(prompts)

    def grid(self) -> Image.Image:
        """Lay the pictures side by side, at most eight in a row."""
        return side_by_side(self, MAX_COLUMNS)

    def _repr_png_(self) -> bytes:
        return _png(self.grid())

    def _repr_html_(self) -> str:
        return "".join(map(_figure, self, self.prompts))


class Model:
    """A finished run or system, ready to draw; calling it draws."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._load(DEFAULTS)

    def __repr__(self) -> str:
        return f"Model({str(self.run_dir)!r})"

    def _load(self, config: DrawConfig) -> None:
        self._weights, self._generator = config.weights, load_generator(self.run_dir, config=config)

    @property
    def image_size(self) -> int:
        """Side of the pictures it draws, pixels."""
        return self._generator.image_size

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_images: int = 1,
        seed: int = 0,
        **drawing: Any,
    ) -> Pictures:
        """Draw a prompt, or several; the pictures are those that `t2i generate` draws with the same settings.

        Args:
            prompt: what to draw, in words of the captions that the run was trained on.
            num_images: pictures a prompt.
            seed: picture i of a prompt depends on (seed, prompt, i) alone.
            **drawing: fields of `DrawConfig`, such as guidance_scale=3, steps=30 or sampler="heun".

        Raises:
            ConfigError: there is no prompt, it has words the run never learned, or a setting is out of bounds or would
                be ignored.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not any(text.strip() for text in prompts):
            raise ConfigError("there is no prompt to draw.")
        config = GenerateConfig.parse({"num_images": num_images, "seed": seed} | drawing)
        refuse_ignored(self.run_dir, config)
        if config.weights != self._weights:
            self._load(config)
        refuse_unknown_words(self._generator.prompt_words_unknown, [*prompts, config.negative_prompt])
        wanted = [(text, i) for text in prompts for i in range(num_images)]
        seeds = [image_seed(seed, text, i) for text, i in wanted]
        drawn = self._generator.generate([text for text, _ in wanted], seeds, config)
        return Pictures((Image.fromarray(picture) for picture in drawn), [text for text, _ in wanted])


def _figure(picture: Image.Image, prompt: str) -> str:
    data = base64.b64encode(_png(picture)).decode()
    text = html.escape(prompt)
    size = f"width={SHOWN_SIDE} height={SHOWN_SIDE}" if picture.width < SHOWN_SIDE else ""
    return (
        f'<img alt="{text}" title="{text}" {size} style="margin: 2px; image-rendering: pixelated; display: inline"'
        f' src="data:image/png;base64,{data}">'
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
