"""The main job, written once: ingest, caption, train each model, evaluate. Steps decide how it is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.config import PipelineConfig
from flows.steps import Steps
from t2i_core.canonical import digest_of
from t2i_core.captioning.config import CaptionRequest
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.ingestion.config import IngestRequest, ingest_key
from t2i_core.layout import require_workspace
from t2i_core.manifest import StepRef, find_hit
from t2i_core.samples.site import SiteConfig, serve_site
from t2i_core.training.config import TrainRequest


def run_pipeline(steps: Steps, config: PipelineConfig, output_dir: Path) -> dict[str, StepRef]:
    """Do the whole job in one workspace, which it owns: folders of other work are replaced.

    Args:
        steps: how each step is done.
        config: what to do.
        output_dir: the workspace: `dataset/`, `captions/`, `runs/NAME/` and `evaluation/` are made in it.

    Returns:
        The reference of each finished folder, by its path in the workspace.
    """
    require_workspace(output_dir, ["dataset", "captions", "evaluation", *(f"runs/{name}" for name in config.trainings)])
    dataset = ingest_source(steps, config, output_dir / "dataset")
    captions = steps.caption(
        CaptionRequest(
            dataset_dir=dataset.path, config=config.caption, output_dir=output_dir / "captions", on_conflict="replace"
        )
    )
    runs: dict[str, StepRef] = {}
    for name, training in config.trainings.items():
        placed = training.standing_on(lambda run: str(runs[run].path) if run in runs else run)
        runs[name] = steps.train(
            TrainRequest(
                captions_dir=captions.path,
                config=placed,
                output_dir=output_dir / "runs" / name,
                on_conflict="replace",
            )
        )
    judged, scorer = config.evaluate.judged, config.evaluate.scorer
    evaluation = steps.evaluate(
        EvaluateRequest(
            run_dir=runs[judged[0]].path,
            config=config.evaluate.evaluation(),
            output_dir=output_dir / "evaluation",
            baseline_dir=runs[judged[1]].path if len(judged) > 1 else None,
            clip_dir=runs[scorer].path if scorer else None,
            on_conflict="replace",
        )
    )
    trained = {f"runs/{name}": ref for name, ref in runs.items()}
    return {"dataset": dataset, "captions": captions, **trained, "evaluation": evaluation}


def ingest_source(steps: Steps, config: PipelineConfig, dataset_dir: Path) -> StepRef:
    """Ingest the config's source; the built-in site is served meanwhile, unless the dataset is there already."""
    request = IngestRequest(source=config.source, config=config.ingest, output_dir=dataset_dir, on_conflict="replace")
    if not config.uses_site:
        return steps.ingest(request)
    digest = site_digest(config.site)
    if hit := find_hit(dataset_dir, ingest_key(config.source, config.ingest, digest)):
        return hit
    with _served(config.site) as url:
        return steps.ingest(request.with_changes(source=url, source_digest=digest))


def site_digest(site: SiteConfig) -> str:
    """Identity of what the built-in site serves, whatever port it is on."""
    return digest_of(site.model_dump(mode="json", exclude={"port"}))


@contextmanager
def _served(site: SiteConfig) -> Iterator[str]:
    with serve_site(site) as running:
        yield running.url
