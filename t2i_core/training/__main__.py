"""Entry of a training process: `python -m t2i_core.training --captions-dir D --output-dir R --config FILE`."""

import argparse
import json
import sys
from pathlib import Path

import torch

from t2i_core.errors import T2IError, TransientError
from t2i_core.folders.atomic import write_atomically
from t2i_core.lifeline import die_with_parent
from t2i_core.progress import Progress, ignore_progress, plain
from t2i_core.training.config import TrainConfig
from t2i_core.training.ranks import Ranks
from t2i_core.training.step import train
from t2i_core.training.supervisor import EXIT_TRANSIENT, PROGRESS_NAME


def main() -> int:
    """Train as told on the command line, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m t2i_core.training", description=__doc__)
    parser.add_argument("--captions-dir", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="TrainConfig as JSON, in a private folder")
    parser.add_argument("--rank", type=int, default=0, help="number of this process among those that train together")
    parser.add_argument("--on-conflict", choices=("refuse", "replace"), default="refuse")
    args = parser.parse_args()
    die_with_parent()

    def write_progress(progress: Progress) -> None:
        fields = {name: getattr(progress, name) for name in ("step", "done", "total", "unit")}
        record = fields | {"fields": dict(progress.fields)}
        write_atomically(args.output_dir / PROGRESS_NAME, json.dumps(record).encode())

    try:
        config = TrainConfig.load(args.config)
        ranks = Ranks(args.rank, config.devices)
        how = {"on_conflict": args.on_conflict, "on_progress": write_progress if ranks.is_first else ignore_progress}
        with ranks.meeting(args.config.parent):
            train(args.captions_dir, config, args.output_dir, ranks=ranks, **how)
    except T2IError as err:
        print(plain(str(err)), file=sys.stderr)
        return EXIT_TRANSIENT if isinstance(err, TransientError) else err.exit_code
    except torch.OutOfMemoryError as err:
        print(f"out of memory: choose a smaller preset or batch ({plain(str(err).splitlines()[0])})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
