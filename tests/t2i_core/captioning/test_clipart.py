"""A dirty little collection of clip art, like Debian's openclipart, from two folders to captions."""

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from t2i_core import caption, ingest
from t2i_core.folders.manifest import StepRef

OPTIONS: dict[str, Any] = {
    "image_size": 32,
    "resize_mode": "border",
    "crop_transparent": True,
    "encode_format": "png",
}
RDF = """<metadata><rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about=""><dc:title>{title}</dc:title>
<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject><dc:creator><cc:Agent><dc:title>{artist}</dc:title></cc:Agent></dc:creator>
<cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/></cc:Work></rdf:RDF></metadata>"""
LAYERS = "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefghi", "bcdefghij", strict=True))


def drawing(title: str, artist: str = "Ada", keywords: str = "", start: str = "", shape: str = "M2 2h4v5z") -> str:
    listed = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords.split())
    said = RDF.format(title=title, artist=artist, keywords=listed)
    return f'{start}<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20">{said}<path d="{shape}"/></svg>'


DRAWINGS = {
    "food/apple": drawing("Red apple", keywords="fruit unsorted HASH(0x9)"),
    "food/bread_ada_02": drawing("Part of the Flat Icon Collection", keywords="food"),
    "flags/nowhere": drawing("&j;", start=f"<!DOCTYPE svg [<!ENTITY a 'ha'>{LAYERS}]>"),
    "signs/empty": drawing("Nothing", shape="M0 0"),
    "signs/huge": drawing("A stop sign"),
    **{f"cards/{suit}_{number}": drawing("card") for suit in ("heart", "spade") for number in (1, 2, 3)},
    **{f"stars/star_{number}": drawing("gramastar", keywords="stars") for number in (5, 6)},
}


def picture(number: int, mode: str) -> Image.Image:
    """Draw something on a transparent ground; each number gives other bytes."""
    image = Image.new("RGBA", (60, 48), (0, 0, 0, 0))
    image.paste((200, 10 * number, 40, 255), (5, 5, 25 + number, 30))
    image.paste((20, 90, 200, 255), (10, 10, 20, 20))
    if mode == "P":
        flat = image.convert("RGB").quantize(8)
        flat.info["transparency"] = flat.getpixel((0, 0))
        return flat
    return image.convert(mode)


def bomb(side: int) -> bytes:
    """Give a PNG that says that it is huge, and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clipart")
    for number, (name, said) in enumerate(DRAWINGS.items()):
        svg, png = root / "svg" / f"{name}.svg", root / "png" / f"{name}.png"
        for path in (svg, png):
            path.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(said, encoding="utf-8")
        picture(number, ("RGBA", "LA", "P")[number % 3]).save(png)
    Image.new("LA", (50, 50), (9, 0)).save(root / "png/signs/empty.png")
    (root / "png/signs/huge.png").write_bytes(bomb(25_000))
    (root / "png/signs/broken.png").write_bytes((root / "png/food/apple.png").read_bytes()[:99])
    return root


def rows(ref: StepRef) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for row in pq.read_table(ref.path / "shards/00000.parquet").to_pylist()}


def captions(dataset: StepRef, folder: Path) -> tuple[StepRef, dict[str, tuple[str, str]]]:
    ref = caption(dataset, folder, preset="openclipart", validation_share=0, test_share=0)
    names = {row["uid"]: Path(url).stem for url, row in rows(dataset).items()}
    table = pq.read_table(ref.path / "captions.parquet").to_pylist()
    return ref, {names[row["uid"]]: (row["caption"], row["reason"]) for row in table}


def test_pictures_with_drawings_in_a_second_folder(collection: Path, tmp_path: Path) -> None:
    dataset = ingest(collection / "png", tmp_path / "dataset", sidecars_from=str(collection / "svg"), **OPTIONS)
    told = rows(dataset)
    rejected = {Path(url).stem: row["reason"] for url, row in told.items() if row["reason"]}
    assert rejected == {"empty": "blank", "huge": "too_many_pixels", "broken": "truncated"}
    assert dataset.counts["kept"] == 11 and dataset.counts["seen"] == 14
    apple = told["food/apple.png"]
    assert apple["license"] == "http://web.resource.org/cc/PublicDomain"
    assert json.loads(apple["attributes"])["artist"] == "Ada"
    ref, found = captions(dataset, tmp_path / "captions")
    assert found == {
        "apple": ("Red apple, fruit", ""),
        "bread_ada_02": ("bread, food", ""),
        "nowhere": ("nowhere", ""),
        **{f"{suit}_{number}": (suit, "") for suit in ("heart", "spade") for number in (1, 2, 3)},
        **{f"star_{number}": ("gramastar, stars", "boilerplate") for number in (5, 6)},
    }
    report = json.loads((ref.path / "report.json").read_text())
    changed = {rule["name"]: rule["changed"] for rule in report["rules"]}
    assert {name: changed[name] for name in ("drop_repeated", "drop_collections", "name_from_file")} == {
        "drop_repeated": 6,
        "drop_collections": 1,
        "name_from_file": 8,
    }
    page = (ref.path / "report.html").read_text()
    assert "name_from_file" in page and "Part of the Flat Icon Collection" in page


def test_the_drawings_alone(collection: Path, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    dataset = ingest(collection / "svg", tmp_path / "dataset", **OPTIONS)
    told = rows(dataset)
    rejected = {Path(url).stem: (row["reason"], row["error_message"]) for url, row in told.items() if row["reason"]}
    assert rejected == {
        "empty": ("blank", "transparent all over"),
        "nowhere": ("unsupported_format", "SVG with entities"),
    }
    with Image.open(io.BytesIO(_stored(dataset, told["food/apple.svg"]["key"]))) as image:
        # The triangle of 4 by 5 units in a corner fills the square from top to bottom.
        dark = image.convert("L").point(lambda level: 255 * (level < 128)).getbbox()
    assert dark is not None and dark[3] - dark[1] >= 30 and abs((dark[0] + dark[2]) / 2 - 16) <= 2


def _stored(dataset: StepRef, key: str) -> bytes:
    with tarfile.open(dataset.path / "shards/00000.tar") as tar:
        member = tar.extractfile(f"{key}.png")
        assert member is not None
        return member.read()
