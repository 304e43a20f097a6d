"""Pictures first: the first prompts of each task in the benchmark's own order, never picked by hand."""

from t2i_core.evaluation.metrics.benchmark import TASK_TITLES
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.failures import picture_of
from t2i_core.evaluation.metrics.section import Block, Group, Picture, Pictures, Section, Text

# Prompts a task where there are several, pictures a prompt, and pictures of others beside them.
NUM_PROMPTS, NUM_PICTURES, NUM_BESIDE = 8, 4, 2
LEAD = "The first prompts of each task in the benchmark's own order, never picked by hand; same seeds for everybody."


def measure(evidence: Evidence) -> Section:
    """Lay out prompts with their real picture, the model's and the baseline's, and what training had like them."""
    tasks = evidence.benchmark.by_task()
    num = NUM_PROMPTS if len(tasks) > 1 else 4 * NUM_PROMPTS
    blocks: list[Block] = [Text(LEAD, quiet=True)]
    for task, prompts in tasks.items():
        blocks.append(Pictures(TASK_TITLES[task], [_row(evidence, p) for p in prompts[:num]]))
    return Section(title="Pictures", blocks=blocks)


def _row(evidence: Evidence, p: int) -> tuple[str, str, list[Group]]:
    prompt = evidence.benchmark.prompts[p]
    groups = [Group([Picture(prompt.real, f"real picture of {prompt.text}")], "real")]
    for who, drawn in evidence.drawn.items():
        num = min(NUM_PICTURES if who == "model" else NUM_BESIDE, drawn.seeds.shape[1])
        groups.append(Group([picture_of(evidence, who, p, k) for k in range(num)], who))
    if evidence.benchmark.kind == "styles" and evidence.has_neighbours:
        groups.append(_nearest(evidence, p))
    return prompt.text, prompt.id, groups


def _nearest(evidence: Evidence, p: int) -> Group:
    """Show the training pictures nearest to the model's first pictures of a prompt."""
    per_prompt = evidence.drawn["model"].seeds.shape[1]
    start = p * per_prompt
    nearest = evidence.neighbours.nearest[start : start + min(NUM_BESIDE, per_prompt)].tolist()
    labels = [evidence.train.captions[index] for index in nearest]
    shown = [Picture(*each) for each in zip(evidence.train.pictures(nearest), labels, strict=True)]
    return Group(shown, "nearest in training")
