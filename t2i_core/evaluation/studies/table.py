"""All studies: to add one, write its file, and name it here and in `StudyName`."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import StudyName
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.section import Section
from t2i_core.evaluation.studies import edits, guidance, language, seen, sweeps, unclip, upsampler
from t2i_core.evaluation.studies.maker import PictureMaker
from t2i_core.generation.generator import Generator

# What can be studied of whatever draws, and what only of a generator that draws from noise.
OF_ALL: dict[StudyName, Callable[[Evidence, Mapping[str, PictureMaker]], Section]] = {
    "language": language.study,
    "seen": seen.study,
}
OF_NOISE: dict[StudyName, Callable[[Evidence, Mapping[str, Generator]], Section]] = {
    "guidance": guidance.study,
    "upsampler": upsampler.study,
    "edits": edits.study,
    "sweeps": sweeps.study,
    "unclip": unclip.study,
}


def studied(study: StudyName, evidence: Evidence, makers: Mapping[str, PictureMaker]) -> Section:
    """Make a study of who draws, "model" and perhaps "baseline"; `require_able` sees to the model."""
    if study in OF_ALL:
        return OF_ALL[study](evidence, makers)
    return OF_NOISE[study](evidence, _able(makers, study))


def require_able(maker: object, studies: Iterable[StudyName]) -> None:
    """Refuse studies that cannot be made of what draws.

    Raises:
        ConfigError: it draws in one step, or has no upsampler or prior.
    """
    for study in studies:
        if study in OF_NOISE:
            _require_able(maker, study)


def _able(makers: Mapping[str, object], study: StudyName) -> dict[str, Generator]:
    """Give those of whom a study can be made."""
    found = dict[str, Generator]()
    for name, maker in makers.items():
        with suppress(ConfigError):
            found[name] = _require_able(maker, study)
    return found


def _require_able(maker: object, study: StudyName) -> Generator:
    if not isinstance(maker, Generator) or not maker.can_edit:
        raise ConfigError(f"the study of {study} needs a run or system that draws from noise: leave it out.")
    if study == "upsampler" and maker.factor == 1:
        raise ConfigError(
            "there is no upsampler to study: name a system that has one (`t2i compose`), or leave it out."
        )
    if study == "unclip" and not maker.has_prior:
        raise ConfigError("there is no prior to study: name a system that has one (`t2i compose`), or leave it out.")
    return maker
