"""Pictures first: the first prompts of each task in the benchmark's own order, never picked by hand."""

from t2i_core.evaluation.metrics.benchmark import TASK_TITLES
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.failures import picture_of
from t2i_core.evaluation.metrics.section import Block, Group, Picture, Pictures, Section, Text

# Prompts a task where there are several, pictures a prompt, and pictures of others beside them.
NUM_PROMPTS, NUM_PICTURES, NUM_BESIDE = 8, 4, 2
LEAD = "The first prompts of each task in the benchmark's own order, never picked by hand; same seeds for everybody."


def measure(evidence: Evidence) -> Section:
    """Lay out prompts with their real picture, the model's and the baseline's."""
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
    return prompt.text, prompt.id, groups
