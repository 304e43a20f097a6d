"""Can the checker be trusted? It is tried on renders whose truth is known, and on pictures that were judged by eye."""

from collections.abc import Mapping

from t2i_core.evaluation.judges.agreement import (
    FALSE_PASS_BAD,
    MAX_FALSE_PASS,
    MIN_SENSITIVITY,
    SENSITIVITY_BAD,
    Agreement,
    compare_with_eye,
)
from t2i_core.evaluation.judges.composition_gate import CheckerGate
from t2i_core.evaluation.judges.statistics import Estimate
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.failures import judged_picture
from t2i_core.evaluation.metrics.section import (
    Beside,
    Block,
    Column,
    Gate,
    Group,
    Level,
    Mark,
    Pictures,
    Row,
    Section,
    Table,
    Text,
)


def measure(evidence: Evidence) -> Section:
    """Say how far the checker can be trusted, where it was needed."""
    if not evidence.has_scenes:
        return Section(title="Can the checker be trusted?")
    gate, eye = evidence.checker_gate, compare_with_eye()
    return Section(
        title="Can the checker be trusted?",
        key="composition",
        gates=[eye_gate(eye)],
        blocks=[
            Text(f"{gate.version} sees only the pixels, never the prompt. It errs towards rejecting."),
            *_against_the_eye(eye),
            *_on_known_truth(gate),
        ],
        data={"checker": gate.as_dict(), "by_eye": eye.as_dict()},
    )


def eye_gate(agreement: Agreement) -> Gate:
    """Judge the checker by how often it passes what is right and what is wrong to the eye."""
    hit, slip = agreement.sensitivity, agreement.false_pass
    level: Level = "good"
    if slip.value > MAX_FALSE_PASS or hit.value < MIN_SENSITIVITY:
        level = "warn"
    if slip.value > FALSE_PASS_BAD or hit.value < SENSITIVITY_BAD:
        level = "bad"
    note = f"of {len(agreement.compared)} pictures judged by eye it passes {hit} of the right, {slip} of the wrong ones"
    return Gate("Checker against the eye", level, note)


def _against_the_eye(eye: Agreement) -> list[Block]:
    figures = {
        "right to the eye, and passes (sensitivity)": eye.sensitivity,
        "right to the eye, and called wrong": eye.false_fail,
        "wrong to the eye, and passes all the same": eye.false_pass,
        "unsure": eye.unsure,
    }
    how = (
        f"{len(eye.compared)} pictures that models had drawn, half-trained and trained, were judged by looking at each "
        f"on {eye.judged_on} ({eye.judged_by}), before the checker saw them; its thresholds were set on other "
        "pictures. What the checker says of them is measured again for this report."
    )
    rows = [Row(title, [e, f"{e.num} pictures"]) for title, e in figures.items()]
    blocks: list[Block] = [Table("Against the eye", "Figure", [Column("Share", "share"), Column("Of")], rows, note=how)]
    if eye.disagreements:
        blocks.append(Pictures("Where they disagree", [("", "", _disagreements(eye))]))
    return blocks


def _disagreements(eye: Agreement) -> list[Group]:
    """Show the pictures on which checker and eye disagree, with what each says."""
    groups = []
    for compared in eye.disagreements:
        judged = compared.judged
        opinion = "right" if judged.right else f"wrong {judged.wrong.replace('_', ' ')}"
        doubt = ", doubtful" if judged.doubtful else ""
        below = f"eye: {opinion}{doubt}\n“{judged.prompt}”"
        label = f"generated picture of {judged.prompt}"
        picture = judged_picture(compared.picture, label, compared.verdict, before="checker: ", below=below)
        groups.append(Group([picture]))
    return groups


def _on_known_truth(gate: CheckerGate) -> list[Block]:
    mark = Mark("gate passed", "good") if gate.passed else Mark("gate failed", "bad")
    tables: dict[str, Mapping[str, Estimate]] = {
        "Clean renders that pass": gate.sensitivity,
        "Pictures with one thing wrong that pass": gate.false_pass,
        "Corrupted renders that pass": gate.ladder,
    }
    columns = [Column("Share", "point"), Column("Tried", "count")]
    junk = f"{sum(gate.junk_accepted.values())} of {gate.num_junk} pictures ({', '.join(gate.junk_accepted)})"
    return [
        Beside(
            "On known truth",
            [
                Table(title, "Pictures", columns, [Row(name, [e, f"of {e.num}"]) for name, e in table.items()])
                for title, table in tables.items()
            ],
        ),
        Text(f"on fresh renders, renders with one thing wrong, and junk. Junk accepted: {junk}.", mark),
    ]
