"""The job `benchmark`: every system fitted, and all of them measured in one report."""

from rich.console import Console

from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.data.prepare import prepare
from dualrec.evaluation.cases import settings_before
from dualrec.evaluation.evaluate import evaluate
from dualrec.evaluation.fitting import fit_baselines
from dualrec.evaluation.language_systems import changed
from dualrec.evaluation.scorers import SEQUENCE, sequence_models
from dualrec.language.checks import check_on_a_node
from dualrec.language.finetune import finetune_language
from dualrec.pipeline.checks import check_prepared, check_steps
from dualrec.pipeline.run import Step, run_steps
from dualrec.sequence.train import train_sequence
from dualrec.storage.workspace import Workspace


def benchmark(settings: Settings, force: bool = False) -> Summary:
    """Run all steps; with the protocol `time_split`, once more on the data before its moment.

    Each shows its own summary, and is skipped where its result is there.

    Raises:
        DualrecError: as the steps do.
    """
    console, seconds = Console(), dict[str, str]()
    tuned = [*([settings] if _tuning(settings) else []), *_tuned_variants(settings)]
    elsewhere = check_steps(settings, tuned, serves=False, force=force)
    with ray_session(settings.cluster):
        check_on_a_node(elsewhere)
        seconds |= run_steps([prepare], settings, force, console)
        check_prepared(settings, tuned, force)
        seconds |= run_steps([train_sequence, *_tuning(settings)], settings, force, console)
        seconds |= _other_networks(settings, force, console)
        for variant in _tuned_variants(settings):
            took = run_steps([finetune_language], variant, force, console)
            seconds[f"finetune-language, {variant.language.mode}"] = took["finetune-language"]
        seconds |= run_steps([fit_baselines], settings, force, console)
        if "time_split" in settings.evaluation.protocols:
            before = settings_before(Workspace.of(settings), settings)
            took = run_steps(
                [prepare, train_sequence, *_tuning(before), fit_baselines], before, force, console
            )
            took |= _other_networks(before, force, console)
            seconds |= {
                f"{name}, before the moment": seconds_taken for name, seconds_taken in took.items()
            }
        seconds |= run_steps([evaluate], settings, force, console)
    lines: dict[str, object] = {f"{name} took": took for name, took in seconds.items()}
    return Summary("benchmark", lines, {"workspace": settings.workspace})


def _other_networks(settings: Settings, force: bool, console: Console) -> dict[str, str]:
    """Train the sequence models that are only measured; return how long each took."""
    seconds = {}
    for name, own in sequence_models(settings).items():
        if name != SEQUENCE:
            seconds[f"train-sequence, {own.sequence.preset}"] = run_steps(
                [train_sequence], own, force, console
            )["train-sequence"]
    return seconds


def _tuning(settings: Settings) -> list[Step]:
    """Fine-tuning is a step where the model that these settings make is the one to be served, and
    is measured."""
    return (
        [finetune_language]
        if settings.language.tuned == "current" and settings.evaluation.language
        else []
    )


def _tuned_variants(settings: Settings) -> list[Settings]:
    """The settings of the variants that are served by a model fine-tuned for them."""
    if not settings.evaluation.language:
        return []
    own = [
        one for one in settings.evaluation.variants if one.set.get("language.tuned") == "current"
    ]
    return [changed(settings, variant, variant.set) for variant in own]
