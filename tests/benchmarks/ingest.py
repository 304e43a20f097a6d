"""Pictures/s and peak memory of an ingest from a list of URLs, beside img2dataset with its best settings.

Usage: python tests/benchmarks/ingest.py [--pictures 3000] [--kind photo|large|emoji|clipart] [--rounds 3]
                                         [--alone] [--peer-env DIR]

img2dataset is installed into an environment of its own (--peer-env, kept for the next time). Both fetch the same list
from the same server on loopback, in turn, as whole processes: start-up counts. Medians are printed, and the PSNR of
what t2i makes of the pictures against full decoding and a Lanczos filter. --alone leaves img2dataset out.
"""

import argparse
import asyncio
import io
import multiprocessing
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import psutil
from PIL import Image

from t2i_core.data.picture import ImageOptions, Picture, Resampling
from t2i_core.data.pictures.process import process_picture

NUM_DISTINCT = {"photo": 200, "large": 20, "emoji": 3000, "clipart": 3000}
NUM_COMPARED = 50
RESAMPLING: tuple[Resampling, ...] = ("fast", "bicubic")
SECONDS_BETWEEN_LOOKS = 0.05
CLIPART = Path("/usr/share/openclipart/png")
# Seven are larger than what t2i takes from strangers.
MAX_CLIPART_PIXELS = ImageOptions().max_pixels


@dataclass(frozen=True, slots=True)
class Kind:
    """What the pictures are like, and what they are made into."""

    sides: tuple[int, int]
    format: str
    image_size: int
    octaves: int


KINDS = {
    "photo": Kind((480, 1024), "JPEG", 256, 7),
    "large": Kind((3000, 3000), "JPEG", 256, 10),
    "emoji": Kind((72, 72), "PNG", 64, 2),
    "clipart": Kind((0, 0), "PNG", 256, 0),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What the runs of one program took: seconds of each, and the memory of one more."""

    seconds: list[float]
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--kind", choices=KINDS, default="photo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--peer-env", type=Path, default=Path("workspace/benchmark/img2dataset"))
    args = parser.parse_args()
    kind = KINDS[args.kind]
    number = NUM_DISTINCT[args.kind]
    bodies = read_clipart(number) if args.kind == "clipart" else make_bodies(kind, number)
    print(f"{args.pictures:,} pictures, {np.mean([len(body) for body in bodies]) / 1000:.0f} kB each on average")
    with TemporaryDirectory() as folder:
        work = Path(folder)
        server, port = start_server(bodies)
        try:
            url_list = write_list(work / "list.csv", args.pictures, port)
            commands = {f"t2i {name}": t2i_command(url_list, work / f"t2i {name}", kind, name) for name in RESAMPLING}
            if not args.alone:
                peer = install_peer(args.peer_env)
                commands["img2dataset"] = peer_command(peer, url_list, work / "img2dataset", kind)
            seconds: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(args.rounds):
                for name, command in commands.items():
                    seconds[name].append(run(command, work / name, args.pictures))
            # Looking at memory takes a tenth of the time, so it is done in a run that is not timed.
            peaks = {name: peak_of(command, work / name) for name, command in commands.items()}
            results = {name: Result(seconds[name], peaks[name]) for name in commands}
        finally:
            server.kill()
    report(results, args.pictures)
    for name in RESAMPLING:
        print(f"t2i {name}: {mean_psnr(bodies[:NUM_COMPARED], kind.image_size, name):.1f} dB on average")


def report(results: dict[str, Result], pictures: int) -> None:
    for name, result in results.items():
        seconds = median(result.seconds)
        told = f"{name:12s} {pictures / seconds:8.0f} pictures/s {seconds:8.1f} s {result.peak_mb:8.0f} MB at most"
        if "img2dataset" in results:
            peer = results["img2dataset"].seconds
            ratio = median(theirs / ours for ours, theirs in zip(result.seconds, peer, strict=True))
            told += f" {ratio:8.2f} x img2dataset"
        print(told)


def mean_psnr(bodies: list[bytes], size: int, resampling: Resampling) -> float:
    """Compare what is made of pictures with full decoding and a Lanczos filter, in dB."""
    options = ImageOptions(image_size=size, resampling=resampling, encode_format="png")
    return float(np.mean([psnr(body, options) for body in bodies]))


def psnr(body: bytes, options: ImageOptions) -> float:
    with Image.open(io.BytesIO(body)) as source:
        side = min(source.size)
        left, top = ((length - side) / 2 for length in source.size)
        box, fitted = (left, top, left + side, top + side), (options.image_size, options.image_size)
        white = Image.new("RGBA", source.size, "white")
        white.alpha_composite(source.convert("RGBA"))
        full = white.convert("RGB").resize(fitted, Image.Resampling.LANCZOS, box=box)
    made = process_picture(body, options)
    assert isinstance(made, Picture)
    difference = np.asarray(Image.open(io.BytesIO(made.data)), np.float64) - np.asarray(full, np.float64)
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9)))


def install_peer(folder: Path) -> Path:
    """Give img2dataset's program, installed into an environment of its own."""
    program = folder.resolve() / "bin" / "img2dataset"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "img2dataset", "setuptools<81"], check=True)
    return program


def make_bodies(kind: Kind, number: int) -> list[bytes]:
    """Draw pictures with detail at every scale, as photographs have it."""
    rng = np.random.default_rng(0)
    return [make_body(rng, kind) for _ in range(number)]


def make_body(rng: np.random.Generator, kind: Kind) -> bytes:
    width, height = (int(side) for side in rng.integers(kind.sides[0], kind.sides[1] + 1, 2))
    canvas = np.zeros((height, width, 3), np.float32)
    for octave in range(kind.octaves):
        grain = rng.integers(0, 256, (2 << octave, 2 << octave, 3), dtype=np.uint8)
        layer = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
        canvas += (np.asarray(layer, np.float32) - 128) * 0.76**octave
    buffer = io.BytesIO()
    Image.fromarray((canvas + 128).clip(0, 255).astype(np.uint8)).save(buffer, kind.format, quality=90)
    return buffer.getvalue()


def read_clipart(number: int) -> list[bytes]:
    """Read drawings of every kind, spread evenly over all that are installed."""
    paths = [path for path in sorted(CLIPART.rglob("*.png")) if num_pixels(path) <= MAX_CLIPART_PIXELS]
    if len(paths) < number:
        raise SystemExit(f"{CLIPART} has {len(paths)} pictures of {number}. Try: apt-get install openclipart-png")
    return [paths[place * len(paths) // number].read_bytes() for place in range(number)]


def num_pixels(path: Path) -> int:
    """Tell from the head of a PNG how many pixels it has."""
    with path.open("rb") as file:
        head = file.read(24)
    return int.from_bytes(head[16:20]) * int.from_bytes(head[20:24])


class PictureProtocol(asyncio.Protocol):
    """Serves picture N as /N, keeping connections open, at as little cost as Python allows."""

    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._asked = (self._asked + data).split(b"\r\n\r\n")
        for request in requests:
            name = request.split(b" ", 2)[1].strip(b"/")
            body = self._bodies[int(name) % len(self._bodies)] if name.isdigit() else b""
            head = b"HTTP/1.1 200 OK" if body else b"HTTP/1.1 404 Not Found"
            self._transport.writelines([head, b"\r\nContent-Length: %d\r\n\r\n" % len(body), body])


def serve(bodies: list[bytes], port: "multiprocessing.Queue[int]") -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(
            partial(PictureProtocol, bodies), "127.0.0.1", 0, backlog=1024
        )
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def start_server(bodies: list[bytes]) -> tuple[multiprocessing.Process, int]:
    queue: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(bodies, queue), daemon=True)
    process.start()
    return process, queue.get()


def write_list(path: Path, pictures: int, port: int) -> Path:
    rows = (f"http://127.0.0.1:{port}/{number},picture number {number}\n" for number in range(pictures))
    path.write_text("url,caption\n" + "".join(rows))
    return path


def t2i_command(url_list: Path, output_dir: Path, kind: Kind, resampling: Resampling) -> list[str]:
    program = str(Path(sys.executable).parent / "t2i")
    options = {
        "--output-dir": output_dir,
        "--image-size": kind.image_size,
        "--resampling": resampling,
        "--encode-quality": 95,
        "--connections-per-host": 64,
        "--samples-per-shard": 1000,
        "--min-image-size": 0,
        "--max-aspect-ratio": 1000,
    }
    flags = ["--allow-private", "localhost", "--no-reject-blank", "--no-prefect"]
    return [program, "ingest", str(url_list), *flags, *(str(part) for pair in options.items() for part in pair)]


def peer_command(program: Path, url_list: Path, output_dir: Path, kind: Kind) -> list[str]:
    options = {
        "url_list": url_list,
        "input_format": "csv",
        "url_col": "url",
        "caption_col": "caption",
        "output_format": "webdataset",
        "output_folder": output_dir,
        "processes_count": 2,
        "thread_count": 64,
        "image_size": kind.image_size,
        "resize_mode": "center_crop",
        "encode_quality": 95,
        "number_sample_per_shard": 1000,
        "enable_wandb": False,
    }
    return [str(program), *(f"--{name}={value}" for name, value in options.items())]


def run(command: list[str], output_dir: Path, pictures: int) -> float:
    """Run one program to its end, and give the seconds it took.

    Raises:
        SystemExit: it failed, or did not keep every picture.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - start
    kept = sum(1 for tar in output_dir.rglob("*.tar") for name in tar_names(tar) if name.endswith(".jpg"))
    if done.returncode or kept != pictures:
        raise SystemExit(
            f"{command[0]} kept {kept} of {pictures} and ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    return seconds


def peak_of(command: list[str], output_dir: Path) -> float:
    """Run one program to its end, and give the most memory that its whole family held, in MB."""
    shutil.rmtree(output_dir, ignore_errors=True)
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, family_mb(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return peak


def tar_names(path: Path) -> list[str]:
    import tarfile

    with tarfile.open(path) as tar:
        return tar.getnames()


def family_mb(pid: int) -> float:
    """Give the memory of a process and its children, shared pages counted once, in MB."""
    try:
        parent = psutil.Process(pid)
        return sum(member.memory_full_info().pss for member in (parent, *parent.children(recursive=True))) / 1e6
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    main()
