"""What goes wrong: the model's pictures with the most failed atoms, by task."""

from t2i_core.evaluation.judges.verdict import Outcome, Verdict
from t2i_core.evaluation.metrics.benchmark import TASK_TITLES
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.evidence import Pictures as Pixels
from t2i_core.evaluation.metrics.section import Block, Group, Level, Picture, Pictures, Section, Text

NUM_FAILURES = 6
LEVELS: dict[Outcome, Level] = {"pass": "good", "fail": "bad", "unsure": "warn"}
SIGNS: dict[Outcome, str] = {"pass": "✓ right", "fail": "✗ ", "unsure": "? "}


def measure(evidence: Evidence) -> Section:
    """Show the worst failures, where there is a truth to fail."""
    title = "Worst failures"
    if not evidence.has_scenes:
        return Section(title=title)
    blocks: list[Block] = [Text("The model's pictures with the most failed atoms, by task.", quiet=True)]
    for task, prompts in evidence.benchmark.by_task().items():
        groups = [
            Group([picture_of(evidence, "model", p, k, below=f"“{evidence.benchmark.prompts[p].text}”")])
            for p, k in _worst(evidence.verdicts["model"], prompts)
        ]
        blocks.append(Pictures(TASK_TITLES[task], [("", "", groups)]))
    return Section(title=title, blocks=blocks)


def _worst(verdicts: list[list[Verdict]], prompts: list[int]) -> list[tuple[int, int]]:
    failed = [(p, k) for p in prompts for k, verdict in enumerate(verdicts[p]) if not verdict.strict]
    failed.sort(key=lambda at: -sum(outcome != "pass" for outcome in verdicts[at[0]][at[1]].atoms.values()))
    return failed[:NUM_FAILURES]


def picture_of(evidence: Evidence, who: str, p: int, k: int, *, below: str = "") -> Picture:
    """Show picture `k` of prompt `p` that the model or the baseline drew, with its verdict."""
    drawn, prompt = evidence.drawn[who], evidence.benchmark.prompts[p]
    label = f"{who}'s picture of {prompt.text}, seed {drawn.seeds[p, k]}"
    verdict = evidence.verdicts[who][p][k] if evidence.verdicts else None
    return judged_picture(drawn.pictures[p, k], label, verdict, below=below)


def judged_picture(
    pixels: Pixels, label: str, verdict: Verdict | None, *, before: str = "", below: str = ""
) -> Picture:
    """Show a picture, (H, W, 3) uint8, in the color of its verdict and with the reason."""
    if verdict is None:
        return Picture(pixels, label, below)
    reason = SIGNS[verdict.outcome] + ("" if verdict.strict else verdict.reason)
    lines = [before + reason, below] if below else [before + reason]
    return Picture(pixels, label, "\n".join(lines), LEVELS[verdict.outcome])
