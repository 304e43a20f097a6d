"""A night, written once: look at the source again, learn what is new, judge, compare, promote. Steps decide how."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from flows.config import PipelineConfig
from flows.nights.config import NightlyConfig
from flows.recipe import ingest_source, make_models
from flows.steps import Steps
from t2i_core.canonical import digest_of
from t2i_core.comparison.config import CompareConfig, CompareRequest
from t2i_core.composition.config import BASE, Role, parts_of
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.layout import require_workspace
from t2i_core.folders.manifest import StepRef
from t2i_core.folders.one_writer import one_writer
from t2i_core.ingestion.config import MAX_VERSIONS
from t2i_core.nights.changes import changed_samples
from t2i_core.nights.decision import already_promoted, answer, judge_against, judge_first
from t2i_core.nights.disk import collect_nights
from t2i_core.nights.page import write_history
from t2i_core.nights.record import NIGHTS_DIR, Night, new_name, night_folder, read_nights, write_night
from t2i_core.promotion.registry import PROMOTIONS_DIR, current, entry_of, named_folder, now


class Answer(NamedTuple):
    """What a person said of a challenger that waited, and why."""

    yes: bool
    why: str


class Asker(NamedTuple):
    """Who asks a person: under a name by which it is known again, and how. Gives None where nobody answers now."""

    name: str
    ask: Callable[[Night], Answer | None]


NOBODY = Asker("", lambda night: None)


def run_nightly(
    steps: Steps, job: PipelineConfig, config: NightlyConfig, workspace: Path, today: str, asker: Asker = NOBODY
) -> Night:
    """Do a night in a workspace, which it owns; the same call goes on with a night that was stopped.

    Args:
        steps: how each step is done.
        job: what to do; the first that is judged is the challenger, and what it does not need is left out.
        config: how it is trained, and when it takes the champion's place.
        workspace: `dataset/`, `nights/NAME/`, `promotions/` and `history.html` are made in it.
        today: the date, such as 2026-11-28.
        asker: who asks a person where the rule wants one.

    Returns:
        What came of it; where nothing was new, the record of the night before.

    Raises:
        TransientError: another process is doing a night in the workspace, or the world was busy.
    """
    with one_writer(workspace):
        return _night(steps, job, config, workspace, today, asker)


def _night(
    steps: Steps, job: PipelineConfig, config: NightlyConfig, workspace: Path, today: str, asker: Asker
) -> Night:
    waiting = [night for night in read_nights(workspace) if night.outcome == "ask" and night.asked_by == asker.name]
    if asker.name and waiting:
        return _ended(_asked(waiting[-1], workspace, asker), workspace, config)
    name = job.evaluate.judged[0]
    job = job.only_for(name)
    require_workspace(workspace, ["dataset", NIGHTS_DIR, PROMOTIONS_DIR])
    with _timed() as took:
        dataset = ingest_source(steps, _holding(job, config), workspace / "dataset", refresh=True)
    subject = digest_of({"dataset": dataset.digest, "job": job.config_digest, "start": config.training()})
    nights = read_nights(workspace)
    if nights and nights[-1].outcome and nights[-1].subject == subject:
        return write_night(workspace, nights[-1].with_changes(quiet=nights[-1].quiet + 1, looked=now()))
    begun = [night for night in nights if not night.outcome and night.subject == subject]
    night = begun[-1] if begun else Night(name=new_name(today, nights), subject=subject, started=now())
    night = write_night(workspace, night.with_seconds("refresh", took()))
    night = _learned(steps, job, config, workspace, night, dataset)
    with _timed() as took:
        night = _judged(steps, job, config, workspace, night)
    night = night.with_seconds("evaluate", took()).with_changes(asked_by=asker.name, finished=now())
    night = write_night(workspace, night)
    return _ended(_asked(night, workspace, asker), workspace, config)


def _holding(job: PipelineConfig, config: NightlyConfig) -> PipelineConfig:
    """Let the dataset hold a version for each night whose captions stay."""
    held = max(job.ingest.keep_versions, min(config.keep_nights, MAX_VERSIONS))
    return job.with_changes(ingest=job.ingest.with_changes(keep_versions=held))


def _learned(
    steps: Steps, job: PipelineConfig, config: NightlyConfig, workspace: Path, night: Night, dataset: StepRef
) -> Night:
    """Caption and train, and note what was new and who challenges."""
    folder, holding = night_folder(workspace, night.name), current(workspace)
    warm = holding is not None and config.start == "warm"
    started = _warm(job, config, named_folder(workspace, "champion")) if warm else job
    earlier = [each for each in read_nights(workspace) if each.outcome and each.name != night.name]
    before = night_folder(workspace, earlier[-1].name) if earlier else None
    with _timed() as took:
        made = make_models(steps, started, dataset, folder, before)
    challenger = (made.runs | made.systems)[job.evaluate.judged[0]]
    added, removed = changed_samples(before and before / "captions", made.captions.path) or (None, None)
    learned = night.with_seconds("caption and train", took()).with_changes(
        samples=sum(made.captions.counts.get(split, 0) for split in ("train", "validation", "test")),
        added=added,
        removed=removed,
        start="the champion" if warm else "fresh",
        challenger=entry_of(challenger.path, workspace),
        images=sum(ref.counts.get("images", 0) for ref in made.runs.values()),
    )
    return write_night(workspace, learned)


def _warm(job: PipelineConfig, config: NightlyConfig, champion: Path) -> PipelineConfig:
    """Let the challenger's runs start from the champion's, role by role."""
    name, parts = job.evaluate.judged[0], parts_of(champion)
    roles: dict[Role, str] = job.systems.get(name, {BASE: name})
    budget = {"max_images": config.warm_images} if config.warm_images else {}
    started = {
        run: job.runs[run].with_changes(init_from=str(parts[role]), **budget)
        for role, run in roles.items()
        if role in parts
    }
    return job.with_changes(runs={**job.runs, **started})


def _judged(steps: Steps, job: PipelineConfig, config: NightlyConfig, workspace: Path, night: Night) -> Night:
    """Evaluate the challenger, and the champion on the same prompts, and let the rule decide."""
    if done := already_promoted(night, workspace):
        return done
    assert night.challenger
    folder, holding = night_folder(workspace, night.name), current(workspace)
    challenger = _evaluated(steps, job, workspace / night.challenger.path, folder, "challenger")
    if holding is None:
        return judge_first(night, workspace, challenger.path, config)
    champion = _evaluated(steps, job, named_folder(workspace, "champion"), folder, "champion")
    compared = steps.compare(
        CompareRequest(
            evaluations=(f"challenger={challenger.path}", f"champion={champion.path}"),
            config=CompareConfig(),
            output_dir=folder / "comparison",
            on_conflict="replace",
        )
    )
    return judge_against(night, workspace, compared.path, holding.champion.digest, config)


def _evaluated(steps: Steps, job: PipelineConfig, model: Path, folder: Path, name: str) -> StepRef:
    """Ask a run or system what this night's captions hold out."""
    scorer = job.evaluate.scorer
    return steps.evaluate(
        EvaluateRequest(
            run_dir=model,
            config=job.evaluate.evaluation(),
            output_dir=folder / "evaluations" / name,
            clip_dir=folder / "runs" / scorer if scorer else None,
            captions_dir=folder / "captions",
            on_conflict="replace",
        )
    )


def _asked(night: Night, workspace: Path, asker: Asker) -> Night:
    """Ask a person where the rule wants one, and do what is said."""
    said = asker.ask(night) if night.outcome == "ask" else None
    return write_night(workspace, answer(night, workspace, yes=said.yes, why=said.why)) if said else night


def _ended(night: Night, workspace: Path, config: NightlyConfig) -> Night:
    """Make room, and write the page over all nights."""
    collect_nights(workspace, config.keep_nights)
    write_history(workspace)
    return night


def describe(night: Night, workspace: Path) -> str:
    """Say in a sentence what came of a night, and what to do where a person has to."""
    if night.looked >= night.finished:
        return f"nothing new since night {night.name}: neither the data nor the job has changed."
    assert night.challenger
    model = workspace / night.challenger.path
    told = {
        "first": f"{model} is the champion: {night.why}.",
        "promote": f"{model} is the champion: {night.why}.",
        "approved": f"{model} is the champion: {night.why}.",
        "ask": f"a person decides: {night.why}. `t2i promote {model} --registry {workspace}` takes it.",
    }
    return f"night {night.name}: " + told.get(night.outcome, f"the champion stays: {night.why}.")


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    """Give the seconds that the block took, when it has ended."""
    start = time.monotonic()
    ended: list[float] = []
    yield lambda: ended[0] - start
    ended.append(time.monotonic())
