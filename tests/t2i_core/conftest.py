import asyncio
import io
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.composition.config import Role
from t2i_core.composition.step import compose
from t2i_core.data.answer import Fetched
from t2i_core.data.reject import Rejection
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.verdict import Want
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import Scene, caption_scene, make_scene, render_scene
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Content = bytes | str | int | Handler


def png(color: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    """Draw a picture of one color with a corner of its opposite: one color alone would be blank."""
    image, buffer = Image.new("RGB", size, color), io.BytesIO()
    red, green, blue = (255 - level for level in color)
    image.paste((red, green, blue), (0, 0, size[0] // 2, size[1] // 2))
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Site:
    """A real web server on loopback: what it serves is a dict, what it was asked is a list."""

    def __init__(self) -> None:
        self.content: dict[str, Content] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.user_agents: set[str] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen(0)
        self.port = self._runner.addresses[0][1]
        self._ready.set()
        await self._done.wait()
        await self._runner.cleanup()

    async def _listen(self, port: int) -> None:
        self._listener = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True)
        await self._listener.start()

    def go_away(self) -> None:
        """Break every connection and refuse new ones, until `come_back`."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(10)

    async def _hang_up(self) -> None:
        await self._listener.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def come_back(self) -> None:
        """Answer again, under the same address."""
        asyncio.run_coroutine_threadsafe(self._listen(self.port), self._loop).result(10)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        self.user_agents.add(request.headers["User-Agent"])
        content = self.content.get(request.path, 404)
        headers = self.headers.get(request.path, {})
        if isinstance(content, int):
            return web.Response(status=content, headers=headers)
        if isinstance(content, bytes):
            return web.Response(body=content, headers={"Content-Type": "image/png", **headers})
        if isinstance(content, str):
            return web.Response(text=content, headers={"Content-Type": "text/html; charset=utf-8", **headers})
        return await content(request)


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    return png


def ask(*urls: str, want: Want = Want.PICTURE, **changes: Any) -> list[Fetched | Rejection]:
    options = FetchOptions(**({"allow_private": ("localhost",), "timeout_seconds": 5.0, "retries": 0} | changes))

    async def one(fetcher: Fetcher, url: str) -> Fetched | Rejection:
        async with fetcher.fetch(url, want) as answer:
            return answer

    async def run() -> list[Fetched | Rejection]:
        async with Fetcher(options) as fetcher:
            return [await one(fetcher, url) for url in urls]

    return asyncio.run(run())


@pytest.fixture
def fetch() -> Callable[..., list[Fetched | Rejection]]:
    """Ask for URLs one after the other with one fetcher."""
    return ask


def captioned(
    root: Path, options: IngestConfig, config: CaptionConfig, tell: Callable[[Path, Scene], object], number: int = 120
) -> Path:
    """Make a captions folder of some scenes by the real steps; `tell` writes what stands beside each picture."""
    pictures = root / "pictures"
    pictures.mkdir()
    for i in range(number):
        scene = make_scene(0, i)
        render_scene(scene, 32).save(pictures / f"{i:03d}.png")
        tell(pictures / f"{i:03d}", scene)
    ingest(str(pictures), options, root / "dataset")
    caption(root / "dataset", config, root / "captions")
    return root / "captions"


def tell_caption(stem: Path, scene: Scene) -> None:
    """Write what a scene shows beside its picture."""
    stem.with_suffix(".txt").write_text(caption_scene(scene))


@pytest.fixture(scope="session")
def captions_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioned dataset of 120 scenes, made by the real steps from a local folder."""
    options = IngestConfig(image_size=32, encode_format="png", samples_per_shard=50, min_image_size=8)
    return captioned(tmp_path_factory.mktemp("training"), options, CaptionConfig(), tell_caption)


@pytest.fixture(scope="session")
def eight_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scenes, all of them to be trained on."""
    options = IngestConfig(image_size=32, encode_format="png", min_image_size=8)
    config = CaptionConfig(validation_share=0, test_share=0)
    return captioned(tmp_path_factory.mktemp("eight"), options, config, tell_caption, number=8)


# Preset and changes of each run of a small system; predictions of x_0, since what barely trained networks take for the
# noise leaves nothing but black and white of a picture.
GENTLE = ["system.prediction=x_0", "system.weighting=edges"]
SMALL, LARGE = ["system.side=16"], ["system.side=32", "system.low_side=16"]
SYSTEM_RUNS = {
    "plain": ("diffusion-smoke", []),
    "direct": ("cnn-smoke", []),
    "scorer": ("clip-smoke", []),
    "base": ("glide-base-smoke", SMALL + GENTLE),
    "clip": ("glide-clip-smoke", SMALL),
    "upsampler": ("glide-upsampler-smoke", LARGE + GENTLE),
    "regressor": ("glide-upsampler-regressor-smoke", LARGE),
    "inpaint": ("glide-inpaint-smoke", SMALL + GENTLE),
    "inpaint_upsampler": ("glide-inpaint-upsampler-smoke", LARGE + GENTLE),
}


@pytest.fixture(scope="session")
def scenes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioned dataset of 120 scenes with their specifications, a third of the combinations held out."""

    def tell(stem: Path, scene: Scene) -> None:
        side = {"caption": caption_scene(scene), "scene": scene.model_dump(mode="json"), "group": scene.combination}
        stem.with_suffix(".json").write_text(json.dumps(side))

    options = IngestConfig(image_size=32, encode_format="png", min_image_size=8)
    return captioned(tmp_path_factory.mktemp("scenes"), options, CaptionConfig(test_share=0.3), tell)


@pytest.fixture(scope="session")
def system_runs(tmp_path_factory: pytest.TempPathFactory, scenes_dir: Path) -> dict[str, Path]:
    """Barely trained runs by role, and systems: "system" of all, "untrained" of the first two, "regressed"."""
    root, compute = tmp_path_factory.mktemp("runs"), Compute(device="cpu", precision="float32")
    made = {}
    for role, (preset, changes) in SYSTEM_RUNS.items():
        config = TrainConfig.parse({"preset": preset, "set": changes, "max_images": 96})
        made[role] = train(scenes_dir, config, root / role, compute=compute).path
    roles: list[Role] = ["base", "upsampler", "clip", "inpaint", "inpaint_upsampler"]
    made["system"] = compose({role: made[role] for role in roles}, root / "system").path
    made["untrained"] = compose({role: made[role] for role in roles[:2]}, root / "untrained").path
    made["regressed"] = compose({"base": made["base"], "upsampler": made["regressor"]}, root / "regressed").path
    return made
