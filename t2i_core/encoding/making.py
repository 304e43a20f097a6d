"""Features that are not there yet: each distinct caption through the encoder, and if asked for the pictures."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from t2i_core.data.batches.captions import SPLITS, read_captions
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.door import is_file
from t2i_core.encoders.encoder import BATCH, FrozenEncoder, PictureEncoder
from t2i_core.encoders.open import find_encoder
from t2i_core.encoding.config import STEP, FeaturesRequest
from t2i_core.encoding.earlier import encoded, open_earlier
from t2i_core.encoding.embeddings import STATISTICS_NAME, StoredPictures, pictures_path, write_statistics
from t2i_core.encoding.pictures import embed_pictures
from t2i_core.encoding.store import Shard, StoredFeatures, shard_path, write_shard
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.claim import claim_folder
from t2i_core.folders.manifest import StepKey, StepRef, describe_file, relative_source, write_manifest
from t2i_core.progress import OnProgress, Progress

# A file of features is made in memory, of captions that are as long as may be.
MAX_SHARD_BYTES, MAX_SHARD_CAPTIONS = 2**28, 2048
_BYTES_A_NUMBER = 4
# Gone when the folder is finished; the name is one of those that are under way.
_WORK_NAME = ".captions.distinct"


def make_features(request: FeaturesRequest, key: StepKey, on_progress: OnProgress) -> StepRef:
    """Encode the kept captions of all splits; an unfinished folder goes on file by file.

    Args:
        request: what was asked for.
        key: of the features.
        on_progress: gets the number of captions encoded.

    Raises:
        ConfigError: the encoder is not understood, or the folder holds other work.
        DataError: the captions are damaged.
    """
    captions_dir, encoder_dir = request.captions_dir, request.encoder_dir
    config, output_dir = request.config, request.output_dir
    # What can be refused is refused before the folder is touched.
    encoder = find_encoder(encoder_dir).open(config)
    if config.pictures and not isinstance(encoder, PictureEncoder):
        raise ConfigError(f"{encoder_dir} reads text alone: pictures are embedded by a CLIP. Leave --pictures out.")
    earlier = open_earlier(request.earlier_dir, key) if request.earlier_dir else None
    claim_folder(output_dir, key, request.on_conflict)
    with SideTable(output_dir / _WORK_NAME) as table:
        for split in SPLITS:
            for row in read_captions(captions_dir, split, ["caption"]):
                table.add(row["caption"], row["caption"])
        counts = _encode_all(encoder, earlier, table, output_dir, on_progress)
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


def _encode_all(
    encoder: FrozenEncoder, earlier: StoredFeatures | None, table: SideTable, folder: Path, on_progress: OnProgress
) -> dict[str, int]:
    """Write all files that are not there, and count what is in them."""
    total, size = table.num_keys(), _captions_a_shard(encoder)
    counts = {"captions": 0, "cut": 0, "shards": 0, "tokens": 0}
    for digests, captions in _parts(table, size):
        on_progress(Progress(step=STEP, done=counts["captions"], total=total, unit="captions"))
        shard = _made(shard_path(folder, counts["shards"]), digests, captions, encoder, earlier)
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


def _made(
    path: Path,
    digests: Sequence[bytes],
    captions: Sequence[str],
    encoder: FrozenEncoder,
    earlier: StoredFeatures | None,
) -> Shard:
    """Write a file of features, unless a run that was stopped has written this very one."""
    if is_file(path):
        try:
            shard = Shard.open(path)
        except DataError:
            path.unlink()
        else:
            if shard.captions.numpy().tobytes() == b"".join(digests):
                return shard
    write_shard(path, digests, encoded(captions, encoder, earlier))
    return Shard.open(path)
