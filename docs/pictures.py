"""Makes the pictures of the README from finished workspaces: `python docs/pictures.py [WORKSPACE...]`.

Of a demo, `images/generated.png` shows prompts that its diffusion model draws, one try each with seed 0, none left out,
and `images/report.png` is the head of its report as Chromium shows it. Of a job that compares several systems, such as
`t2i pipeline --preset systems-toy`, `images/systems.png` is its picture grid: the first prompts of each task, a row a
system.
"""

import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.generate import generate
from t2i_core.report.pictures import open_picture

IMAGES = Path(__file__).parent / "images"
PROMPTS = (
    "a red circle on a gray background",
    "a small yellow triangle on a teal background",
    "a purple cross on a pink background",
    "two green squares on a gray background",
    "three orange circles on a teal background",
    "a blue square left of a white circle on a pink background",
    "a black triangle above a yellow square on a gray background",
    "a green cross right of an orange triangle on a teal background",
    "a white circle below a purple square on a pink background",
    "a large red square on a teal background",
)
COLUMNS, SIDE, GAP, TEXT_HEIGHT, TEXT_SIZE, LINE_CHARS = 5, 160, 12, 54, 13, 23
PAGE_WIDTH, PAGE_HEIGHT, SHOWN_WIDTH, SHOWN_COLORS = 1280, 1500, 900, 128
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def generated(run_dir: Path) -> Image.Image:
    """Draw the prompts, each below its picture."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = generate(run_dir, PROMPTS, Path(folder) / "drawn", GenerateConfig())
        pictures = [Image.open(Path(folder) / "drawn" / image.file, formats=("PNG",)).copy() for image in drawn]
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, rows * (SIDE + TEXT_HEIGHT) + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_SIZE)
    for index, (prompt, picture) in enumerate(zip(PROMPTS, pictures, strict=True)):
        x, y = GAP + index % COLUMNS * (SIDE + GAP), GAP + index // COLUMNS * (SIDE + TEXT_HEIGHT)
        sheet.paste(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, y))
        pen.multiline_text((x, y + SIDE + 3), textwrap.fill(prompt, LINE_CHARS), "black", font, spacing=2)
    return sheet


def page(path: Path) -> Image.Image:
    """Take a picture of the head of a page.

    Raises:
        ConfigError: there is no Chromium here.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ConfigError("no Chromium found: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        size = f"--window-size={PAGE_WIDTH},{PAGE_HEIGHT}"
        command = [browser, *options, size, f"--screenshot={shot}", path.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        picture = Image.open(shot, formats=("PNG",)).convert("RGB")
    height = round(picture.height * SHOWN_WIDTH / picture.width)
    return picture.resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS).quantize(SHOWN_COLORS)


def main(workspace: Path) -> None:
    """Write the pictures that a workspace has something for."""
    IMAGES.mkdir(exist_ok=True)
    if (workspace / "comparison").is_dir():
        read_manifest(workspace / "comparison", "comparison")
        open_picture(workspace / "comparison" / "grid.png").save(IMAGES / "systems.png", optimize=True)
        return
    # In full colours: a palette would change the very thing that is shown.
    generated(workspace / "runs" / "diffusion").save(IMAGES / "generated.png", optimize=True)
    page(workspace / "evaluation" / "report.html").save(IMAGES / "report.png", optimize=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["workspace/demo"]:
        main(Path(name))
