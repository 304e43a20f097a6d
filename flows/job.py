"""What all flows share: how a refusal ends a run, and what the log says when one is down."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar, get_args

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from pydantic import Field

from flows.forms import Grouped
from tasks.runtime import ending_in_words

P = ParamSpec("P")
T = TypeVar("T")


def job(name: str, run_name: str) -> Callable[[Callable[P, State[T]]], Flow[P, State[T]]]:
    """Make a flow.

    Args:
        name: the flow's name.
        run_name: a run's name, with the flow's parameters in braces.
    """

    def decorate(function: Callable[P, State[T]]) -> Flow[P, State[T]]:
        hooks: list[Any] = [say_how_to_go_on]
        make = flow(name=name, flow_run_name=run_name, on_failure=hooks, on_crashed=hooks)
        return make(titled(ending_in_words(function)))

    return decorate


def titled(function: Callable[P, T]) -> Callable[P, T]:
    """Give each parameter a title for the form, made of its name, which Prefect would show as it is in code.

    The default of one in groups is in groups too.
    """
    signature = inspect.signature(function, eval_str=True)
    parameters = [
        parameter.replace(
            annotation=Annotated[parameter.annotation, Field(json_schema_extra={"title": title_of(name)})],
            default=_in_groups(parameter),
        )
        for name, parameter in signature.parameters.items()
    ]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


def _in_groups(parameter: inspect.Parameter) -> Any:
    given = get_args(parameter.annotation) if parameter.default is not parameter.empty else ()
    groups = (note for note in given if isinstance(note, Grouped))
    return next((note.filled(parameter.default) for note in groups), parameter.default)


def title_of(name: str) -> str:
    """Spell a parameter's name for a person: captions_dir is the "Captions folder"."""
    return name.replace("_dir", "_folder").replace("_", " ").capitalize()


def say_how_to_go_on(of: Flow[Any, Any], run: FlowRun, state: State[Any]) -> None:
    """Log that a run is down, and how it goes on; what the end of a whole machine leaves unsaid, the server says."""
    again = f"`t2i resume {run.id}` starts it again" if run.deployment_id else "the same command goes on from here"
    flow_run_logger(run, of).error("%s: %s (%s)", state.name, state.message or "no reason is known", again)
