"""The main job, written once: ingest, caption, train, compose systems, evaluate, compare. Steps decide how."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from flows.config import COMPARISON, JudgeConfig, PipelineConfig
from flows.steps import Steps
from t2i_core.canonical import digest_of
from t2i_core.captioning.config import CaptionRequest
from t2i_core.comparison.config import CompareConfig, CompareRequest
from t2i_core.composition.config import ComposeRequest
from t2i_core.encoding.config import FeaturesRequest
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.hits import find_hit
from t2i_core.folders.layout import require_workspace
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion.config import IngestRequest, ingest_key
from t2i_core.samples.icon_sets import read_icon_set
from t2i_core.samples.site import SiteConfig, serve_site
from t2i_core.training.config import TrainRequest


def run_pipeline(steps: Steps, config: PipelineConfig, output_dir: Path) -> dict[str, StepRef]:
    """Do the whole job in one workspace, which it owns: folders of other work are replaced.

    Args:
        steps: how each step is done.
        config: what to do.
        output_dir: the workspace: `dataset/`, `captions/`, `features/NAME/`, `runs/NAME/`, `systems/NAME/` and
            `evaluation/`, or of more than two `evaluations/NAME/` and `comparison/`, are made in it.

    Returns:
        The reference of each finished folder, by its path in the workspace.
    """
    named: dict[str, Iterable[str]] = {"features": config.features, "runs": config.runs, "systems": config.systems}
    below = [f"{kind}/{name}" for kind, names in named.items() for name in names]
    require_workspace(output_dir, ["dataset", "captions", config.evaluate.result, *config.evaluate.places, *below])
    dataset = ingest_source(steps, config, output_dir / "dataset")
    made = make_models(steps, config, dataset, output_dir)
    judged = _judged(steps, config.evaluate, made.runs | made.systems, output_dir)
    return {"dataset": dataset, **made.placed, **judged}


@dataclass(frozen=True, slots=True)
class Made:
    """What is made of a dataset, by name."""

    captions: StepRef
    features: dict[str, StepRef]
    runs: dict[str, StepRef]
    systems: dict[str, StepRef]

    @property
    def placed(self) -> dict[str, StepRef]:
        """All of it, by its path in the folder that it was made in."""
        kinds = {"features": self.features, "runs": self.runs, "systems": self.systems}
        below = {f"{kind}/{name}": ref for kind, refs in kinds.items() for name, ref in refs.items()}
        return {"captions": self.captions, **below}


def make_models(
    steps: Steps, config: PipelineConfig, dataset: StepRef, folder: Path, earlier: Path | None = None
) -> Made:
    """Caption a dataset, train all runs on it and compose the systems.

    Args:
        steps: how each is done.
        config: what to do.
        dataset: finished.
        folder: gets all of it.
        earlier: another such folder, whose features are used where they are the same.
    """
    captions = steps.caption(
        CaptionRequest(
            dataset_dir=dataset.path, config=config.caption, output_dir=folder / "captions", on_conflict="replace"
        )
    )
    features, runs = _trained(steps, config, captions, folder, earlier)
    return Made(captions, features, runs, _composed(steps, config, runs, folder / "systems"))


def _trained(
    steps: Steps, config: PipelineConfig, captions: StepRef, folder: Path, earlier: Path | None
) -> tuple[dict[str, StepRef], dict[str, StepRef]]:
    """Train all runs, each after those, and the features, that it stands on; gives the features, and the runs."""
    features, runs = dict[str, StepRef](), dict[str, StepRef]()

    def place(name: str) -> str:
        made = runs | features
        return str(made[name].path) if name in made else name

    for name, training in config.trainings.items():
        for used in training.runs.values():
            if used in config.features and used not in features:
                encoder_dir = Path(place(config.features[used].encoder))
                features[used] = _encoded(steps, config, captions, encoder_dir, used, folder, earlier)
        placed, output_dir = training.standing_on(place), folder / "runs" / name
        runs[name] = steps.train(
            TrainRequest(captions_dir=captions.path, config=placed, output_dir=output_dir, on_conflict="replace")
        )
    return features, runs


def _encoded(
    steps: Steps,
    config: PipelineConfig,
    captions: StepRef,
    encoder_dir: Path,
    name: str,
    folder: Path,
    earlier: Path | None,
) -> StepRef:
    """Make one folder of features, under the name that the config gives it."""
    place = Path("features") / name
    return steps.features(
        FeaturesRequest(
            captions_dir=captions.path,
            encoder_dir=encoder_dir,
            config=config.features[name].encoding(),
            output_dir=folder / place,
            on_conflict="replace",
            earlier_dir=earlier / place if earlier else None,
        )
    )


def _composed(steps: Steps, config: PipelineConfig, runs: Mapping[str, StepRef], folder: Path) -> dict[str, StepRef]:
    """Make all systems of the runs."""
    return {
        name: steps.compose(
            ComposeRequest(
                runs={role: runs[run].path for role, run in roles.items()},
                output_dir=folder / name,
                on_conflict="replace",
            )
        )
        for name, roles in config.systems.items()
    }


def _judged(steps: Steps, config: JudgeConfig, made: Mapping[str, StepRef], workspace: Path) -> dict[str, StepRef]:
    """Score what is to be judged, of the runs and systems by name, and compare what was scored by itself."""
    refs = {
        place: _evaluated(steps, config, [made[name].path for name in names], made, workspace / place)
        for place, names in config.places.items()
    }
    if config.result != COMPARISON:
        return refs
    evaluations = tuple(f"{name}={ref.path}" for name, ref in zip(config.judged, refs.values(), strict=True))
    request = CompareRequest(
        evaluations=evaluations, config=CompareConfig(), output_dir=workspace / COMPARISON, on_conflict="replace"
    )
    return refs | {COMPARISON: steps.compare(request)}


def _evaluated(
    steps: Steps, config: JudgeConfig, judged: Sequence[Path], made: Mapping[str, StepRef], output_dir: Path
) -> StepRef:
    """Score one run or system, and print the next one beside it if there is one."""
    return steps.evaluate(
        EvaluateRequest(
            run_dir=judged[0],
            config=config.evaluation(),
            output_dir=output_dir,
            baseline_dir=judged[1] if len(judged) > 1 else None,
            clip_dir=made[config.scorer].path if config.scorer else None,
            on_conflict="replace",
        )
    )


def ingest_source(steps: Steps, config: PipelineConfig, dataset_dir: Path, *, refresh: bool = False) -> StepRef:
    """Ingest the config's source; the built-in site is served meanwhile, unless the dataset is there already.

    Args:
        steps: how it is done.
        config: what to do.
        dataset_dir: the dataset folder; one of another source or of other options is replaced.
        refresh: look again at the source of a finished dataset. The built-in site is always the same, but for one
            that changes from night to night.
    """
    request = IngestRequest(source=config.source, config=config.ingest, output_dir=dataset_dir, on_conflict="replace")
    if not config.uses_site:
        return steps.ingest(request.with_changes(refresh=refresh))
    site, digest = config.site, site_digest(config.site)
    hit = find_hit(dataset_dir, ingest_key(config.source, config.ingest, digest))
    looks = hit is not None and refresh and site.night is not None
    if hit and not looks:
        return hit
    with _served(_where_it_was(site, dataset_dir) if looks else site) as url:
        return steps.ingest(request.with_changes(source=url, source_digest=digest, refresh=looks))


def _where_it_was(site: SiteConfig, dataset_dir: Path) -> SiteConfig:
    """Serve a site on the port that it had when a dataset was made of it, for with another all pictures are others."""
    port = URL(read_manifest(dataset_dir, "dataset").sources["source"]).port
    return site if site.port or port is None else site.with_changes(port=port)


def site_digest(site: SiteConfig) -> str:
    """Identity of what the built-in site serves, whatever port it is on and wherever its icon sets lie.

    Raises:
        ConfigError: an icon set cannot be read.
    """
    shown = site.model_dump(mode="json", exclude={"port", "icons", "request_log", "night"})
    # A site without icons is written as it was when there were none.
    icons = {"icons": [read_icon_set(Path(folder)).digest for folder in site.icons]} if site.icons else {}
    # What a site shows that changes is learned by looking at it, as of any page.
    changes = {} if site.night is None else {"changes": True}
    return digest_of(shown | icons | changes)


@contextmanager
def _served(site: SiteConfig) -> Iterator[str]:
    with serve_site(site) as running:
        yield running.url
