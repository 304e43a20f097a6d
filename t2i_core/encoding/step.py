"""The features step: each distinct caption of a folder through a frozen encoder, once."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from t2i_core.data.batches.captions import SPLITS, read_captions
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.door import is_file
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.encoder import BATCH, FrozenEncoder, PictureEncoder
from t2i_core.encoders.open import find_encoder
from t2i_core.encoding.config import STEP, features_key
from t2i_core.encoding.embeddings import STATISTICS_NAME, StoredPictures, pictures_path, write_statistics
from t2i_core.encoding.pictures import embed_pictures
from t2i_core.encoding.store import Shard, StoredFeatures, shard_path, write_shard
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.claim import OnConflict, claim_folder
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef, describe_file, relative_source, write_manifest
from t2i_core.folders.one_writer import writes_alone
from t2i_core.progress import OnProgress, Progress, ignore_progress

# A file of features is made in memory, of captions that are as long as may be.
MAX_SHARD_BYTES, MAX_SHARD_CAPTIONS = 2**28, 2048
_BYTES_A_NUMBER = 4
# Gone when the folder is finished; the name is one of those that are under way.
_WORK_NAME = ".captions.distinct"


@tells_disk_errors
@writes_alone
def features(
    captions_dir: Path,
    encoder_dir: Path,
    config: FeaturesConfig,
    output_dir: Path,
    *,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Encode the kept captions of all splits, each distinct one once, and if asked for the pictures.

    An unfinished folder goes on file by file.

    Args:
        captions_dir: a finished captions folder.
        encoder_dir: a finished clip run, an open_clip folder, or a text encoder in the layout of Hugging Face.
        config: what of the encoder's output is wanted.
        output_dir: the features folder.
        on_conflict: what to do with a folder that holds other work.
        on_progress: gets the number of captions encoded.

    Raises:
        ConfigError: a folder is not what it should be, the encoder is not understood, or `output_dir` holds other work.
        DataError: the captions are damaged.
        TransientError: another process is writing `output_dir`.
    """
    key = features_key(captions_dir, encoder_dir, config)
    if hit := find_hit(output_dir, key):
        return hit
    # What can be refused is refused before the folder is touched.
    encoder = find_encoder(encoder_dir).open(config)
    if config.pictures and not isinstance(encoder, PictureEncoder):
        raise ConfigError(f"{encoder_dir} reads text alone: pictures are embedded by a CLIP. Leave --pictures out.")
    claim_folder(output_dir, key, on_conflict)
    with SideTable(output_dir / _WORK_NAME) as table:
        for split in SPLITS:
            for row in read_captions(captions_dir, split, ["caption"]):
                table.add(row["caption"], row["caption"])
        counts = _encode_all(encoder, table, output_dir, on_progress)
    if isinstance(encoder, PictureEncoder) and config.pictures:
        counts |= embed_pictures(captions_dir, encoder, output_dir, STEP, on_progress)
        pictures = StoredPictures(output_dir, counts["picture_shards"])
        write_statistics(output_dir, captions_dir, pictures, StoredFeatures(output_dir, counts["shards"]))
    folders = {"captions": captions_dir, "encoder": encoder_dir}
    return write_manifest(
        output_dir,
        kind="features",
        key=key,
        sources={name: relative_source(folder, output_dir) for name, folder in folders.items()},
        counts=counts,
        files=[describe_file(output_dir, path) for path in _files(output_dir, counts)],
    )


def _files(folder: Path, counts: Mapping[str, int]) -> list[Path]:
    paths = [shard_path(folder, number) for number in range(counts["shards"])]
    if "pictures" not in counts:
        return paths
    pictures = [pictures_path(folder, number) for number in range(counts["picture_shards"])]
    return [*paths, *pictures, folder / STATISTICS_NAME]


def _encode_all(encoder: FrozenEncoder, table: SideTable, folder: Path, on_progress: OnProgress) -> dict[str, int]:
    """Write all files that are not there, and count what is in them."""
    total, size = table.num_keys(), _captions_a_shard(encoder)
    counts = {"captions": 0, "cut": 0, "shards": 0, "tokens": 0}
    for digests, captions in _parts(table, size):
        on_progress(Progress(step=STEP, done=counts["captions"], total=total, unit="captions"))
        shard = _made(shard_path(folder, counts["shards"]), digests, captions, encoder)
        counts["captions"] += len(captions)
        counts["cut"] += encoder.tokenize(captions).num_cut
        counts["shards"] += 1
        counts["tokens"] += len(shard.tokens)
    on_progress(Progress(step=STEP, done=total, total=total, unit="captions"))
    return counts


def _captions_a_shard(encoder: FrozenEncoder) -> int:
    _, length, width = encoder.encode([""]).tokens.shape
    whole_batches = MAX_SHARD_BYTES // (length * width * _BYTES_A_NUMBER) // BATCH
    return min(MAX_SHARD_CAPTIONS, max(1, whole_batches) * BATCH)


def _parts(table: SideTable, size: int) -> Iterator[tuple[list[bytes], list[str]]]:
    """Give the digests and captions of each file."""
    rows = table.by_key()
    while part := list(islice(rows, size)):
        yield [digest for digest, _ in part], [caption for _, caption in part]


def _made(path: Path, digests: Sequence[bytes], captions: Sequence[str], encoder: FrozenEncoder) -> Shard:
    """Write a file of features, unless a run that was stopped has written this very one."""
    if is_file(path):
        try:
            shard = Shard.open(path)
        except DataError:
            path.unlink()
        else:
            if shard.captions.numpy().tobytes() == b"".join(digests):
                return shard
    write_shard(path, digests, encoder.encode(captions))
    return Shard.open(path)
