"""The job `evaluate`: test users' cut histories and models in; reports/RUN out, with lists, metrics
and report."""

import json
import time
from typing import Any

import yaml

from dualrec.assets.digests import content_digest
from dualrec.baselines.nir import step_texts
from dualrec.baselines.registry import PROMPTED_BASELINE, is_prompted
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared, prepared
from dualrec.evaluation import fitting
from dualrec.evaluation import predictions as language_predictions
from dualrec.evaluation.answers import Answers
from dualrec.evaluation.cases import Questions, questions
from dualrec.evaluation.checks import check_systems
from dualrec.evaluation.html_report import html_report
from dualrec.evaluation.language_systems import (
    IN_FORCE,
    LANGUAGE,
    language_answers,
    settings_of,
    system_name,
)
from dualrec.evaluation.lists import read_lists
from dualrec.evaluation.measure import Measured, measured
from dualrec.evaluation.nir_answers import nir_answers
from dualrec.evaluation.predictions import (
    predictions_in_force,
    predictions_of_variant,
    with_fused_lists,
)
from dualrec.evaluation.report import markdown_report, terminal_table
from dualrec.evaluation.scorers import scored
from dualrec.evaluation.system_facts import (
    facts_of_language,
    facts_of_lists,
    facts_of_nir,
    facts_of_scorers,
)
from dualrec.language.checks import check_on_a_node
from dualrec.ranking import lists as ranking
from dualrec.scoring.pipeline import scoring_version
from dualrec.storage.workspace import Workspace

METHOD = 1  # of measuring; raised when the same answers give another report (CONTRIBUTING.md)
SETTINGS = "settings.yaml"  # all that was set; what repeats the run


def evaluate(settings: Settings, force: bool = False) -> Summary:
    """Measure every system under every protocol, unless this report is there.

    The language model's answers are taken from predictions/ where they are there, whatever `force`
    says.

    Raises:
        WorkspaceError: there are no histories, a model has not been trained, or the workspace
            cannot be written.
        AssetError: a model cannot be had.
        InputError: nobody can be asked about under a protocol, or another system's lists are not
            what they should be.
        SettingsError: a baseline or a variant's setting is unknown.
    """
    workspace = Workspace.of(settings)
    settings = with_fused_lists(settings)
    name = report_name(prepared(workspace, settings), settings)
    if not workspace.has(name) or force:
        asked = list(questions(workspace, settings))
        elsewhere = check_systems(workspace, asked)
        with ray_session(settings.cluster):
            check_on_a_node(elsewhere)
            _write(workspace, settings, asked, name)
    return _summary(workspace, name)


def report_name(data: Prepared, settings: Settings) -> str:
    """The artifact of the report that these settings give."""
    settings = with_fused_lists(settings)
    methods = (METHOD, ranking.METHOD, language_predictions.METHOD, fitting.METHOD)
    own = (settings.ranking, settings.evaluation, settings.baselines)
    measured = settings.evaluation
    variants = [
        settings_of(settings, data, variant) for variant in measured.variants if measured.language
    ]
    answers = [scoring_version(data, answering) for answering in (settings, *variants)]
    prompted = step_texts() if is_prompted(settings.baselines.systems) else []
    lists = [
        content_digest(path, settings.cache, settings.network.store)
        for path in measured.lists.values()
    ]
    return f"reports/{version_of(*methods, answers, *own, prompted, lists)}"


def _write(workspace: Workspace, settings: Settings, asked: list[Questions], name: str) -> None:
    started = time.perf_counter()
    made: dict[str, Any] = {"settings": settings.model_dump(mode="json")}
    with workspace.writing(name, made) as folder:
        metrics: dict[str, Any] = {
            "settings_hash": version_of(settings),
            "decoding": settings.language.decoding,
        }
        metrics |= {"validation": {}, "protocols": {}, "systems": {}}
        for question in asked:
            answered = _answer(workspace, question, folder)
            metrics["dataset"] = question.data.dataset
            made["data_version"] = question.data.version
            for protocol, result in measured(
                workspace, question, answered, f"{folder}/lists"
            ).items():
                metrics["protocols"][protocol] = result
            metrics["validation"] = answered.fits | metrics["validation"]
            metrics["systems"] = answered.systems | metrics["systems"]
        metrics["commands"] = [
            f"dualrec benchmark --config {SETTINGS}  # the file beside this report"
        ]
        metrics["seconds"] = {"evaluate": round(time.perf_counter() - started, 1)}
        texts = {
            "metrics.json": json.dumps(metrics, indent=2),
            "report.md": markdown_report(metrics),
        }
        texts[SETTINGS] = yaml.safe_dump(
            settings.model_dump(mode="json", exclude_unset=True), sort_keys=False
        )
        for file, text in {**texts, "report.html": html_report(metrics)}.items():
            with workspace.filesystem.open_output_stream(f"{folder}/{file}") as stream:
                stream.write(text.encode())


def _answer(workspace: Workspace, question: Questions, folder: str) -> Measured:
    """Every system's answers to the questions that rest on the same data."""
    settings, data = question.settings, question.data
    scorers = scored(workspace, data, settings, question.asked)
    found = Measured(dict(scorers), {}, {}, facts_of_scorers(workspace, data, settings, scorers))
    if not question.before_a_moment:
        for name, path in settings.evaluation.lists.items():
            item_ids = data.catalog.column("item_id").to_numpy()
            found.answers[name] = read_lists(
                path, question.asked, item_ids, data.version, settings.network.store
            )
            found.systems[name] = facts_of_lists(path)
    if settings.evaluation.language:
        _ask_language_models(workspace, question, scorers, found, folder)
    return found


def _ask_language_models(
    workspace: Workspace,
    question: Questions,
    scorers: dict[str, dict[str, Answers]],
    found: Measured,
    folder: str,
) -> None:
    """Add what needs a language model: ours under every protocol, the variants and NIR under some."""
    settings, data = question.settings, question.data
    few = {
        name: cases for name, cases in question.asked.items() if name in question.variant_protocols
    }
    if is_prompted(settings.baselines.systems) and not question.before_a_moment:
        found.answers[PROMPTED_BASELINE] = nir_answers(
            workspace, data, settings, question.asked, scorers
        )
        found.systems[PROMPTED_BASELINE] = facts_of_nir(settings, found.answers[PROMPTED_BASELINE])
    variants = settings.evaluation.variants if few else ()
    for number, variant in enumerate((IN_FORCE, *variants)):
        own = settings_of(settings, data, variant)
        place = f"{folder}/traces/{data.version}-{number}"
        if variant is IN_FORCE:
            asked, predictions = question.asked, predictions_in_force(workspace, question, place)
        else:
            asked, predictions = (
                few,
                predictions_of_variant(workspace, data, own, variant, few, place),
            )
        answers = language_answers(workspace, data, own, variant, asked, scorers, predictions)
        found.answers |= answers.answers
        found.systems |= facts_of_language(answers, variant, own)
        found.shares[system_name(LANGUAGE, variant)] = answers.shares
        if answers.fit is not None and not question.before_a_moment:
            found.fits[variant.name if variant is not IN_FORCE else settings.language.decoding] = (
                answers.fit
            )


def _summary(workspace: Workspace, name: str) -> Summary:
    metrics = json.loads(workspace.read_bytes(f"{workspace.content(name)}/metrics.json"))
    lines: dict[str, object] = {"data set": metrics["dataset"], "decoding": metrics["decoding"]}
    for variant, fit in metrics["validation"].items():
        lines[f"on validation users, {variant}"] = (
            f"NDCG@10 {fit['language_ndcg_at_10']:.4f} of the language model alone; its weight {fit['weight']}"
        )
    places = {
        file: f"{workspace.uri}/{workspace.content(name)}/{file}"
        for file in ("metrics.json", "report.md", "report.html")
    }
    tables = [terminal_table(protocol, result) for protocol, result in metrics["protocols"].items()]
    return Summary("evaluate", lines, places, tables)
