"""What `dualrec explain` prints: the reasons of a user's list, or of one item, as tables.

In: settings, a user, and an item where one is named. Out: a Summary. The reading is that of
explanation.py.
"""

from datetime import date

from rich.table import Table
from rich.text import Text

from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import prepared_as
from dualrec.data.pseudonyms import salt_of
from dualrec.errors import PublishError, SettingsError
from dualrec.publishing.manifest import Manifest, current_manifest, latest_manifest
from dualrec.ranking.explain import Reason, explain_item, why_not_listed
from dualrec.ranking.lists import Trace
from dualrec.serving.explanation import Explanation, explain_user
from dualrec.storage.workspace import Workspace

NOTHING = "–"


def explain(
    settings: Settings, user_id: int, item_id: int | None, run_date: date | None
) -> Summary:
    """Explain a user's published list, or one item of the catalog to that user.

    Args:
        item_id: an item in the list or not; None explains the whole list.
        run_date: of the snapshot; None takes the live one.

    Raises:
        PublishError: nothing was published, or not for that date.
        InputError: the snapshot has no list of the user.
        SettingsError: traces are pseudonymized, and the variable of the salt is not set.
        WorkspaceError: the trace is not there any more, or cannot be read.
    """
    workspace = Workspace.of(settings)
    salt = _salt(settings)
    snapshot = _snapshot(workspace, run_date)
    explained = explain_user(workspace, snapshot, user_id, salt)
    titles = titles_of(prepared_as(workspace, snapshot.models["data"]).catalog)
    lines: dict[str, object] = {
        "snapshot": f"{snapshot.run_date}, run {snapshot.run_id}",
        "scored by": f"{explained.scored.run_date}, run {explained.scored.run_id}"
        + ("" if explained.scored.run_date == snapshot.run_date else " (carried over)"),
        "history": f"{len(explained.trace['item_ids']):,} watched items",
        "preset of the ranking": explained.preset,
        "weight of the language model": f"{explained.weight:g}",
    }
    if item_id is None:
        tables = [_list_table(explained, titles), *_answer_tables(explained.trace)]
    else:
        tables = [_item_table(explained, item_id, titles), *_answer_tables(explained.trace)]
    return Summary(f"user {user_id}", lines, {}, tables)


def known_salt(settings: Settings) -> bytes | None:
    """Return the salt of pseudonymized traces; None where there is none, or it is not set here."""
    try:
        return salt_of(settings.recommend.trace_salt_env)
    except SettingsError:
        return None


def _salt(settings: Settings) -> bytes | None:
    variable = settings.recommend.trace_salt_env
    salt = known_salt(settings)
    if variable is not None and salt is None:
        raise SettingsError(
            f"recommend.trace_salt_env: the traces are pseudonymized: set the environment variable "
            f"{variable} to the salt with which the snapshot was written, and explain again"
        )
    return salt


def _snapshot(workspace: Workspace, run_date: date | None) -> Manifest:
    if run_date is None:
        snapshot = latest_manifest(workspace)
        what = "no published snapshot"
    else:
        snapshot = current_manifest(workspace, run_date)
        what = f"no published snapshot of {run_date}; `dualrec nights` lists those that there are"
    if snapshot is None:
        raise PublishError(f"{workspace.uri} holds {what}: run `dualrec nightly` first")
    return snapshot


def _list_table(explained: Explanation, titles: dict[int, str]) -> Table:
    table = Table(title="the list", title_justify="left")
    for name in ("rank", "item", "score", "sequence model", "language model", "similar history"):
        table.add_column(name, justify="right" if name in ("rank", "score") else "left")
    for row, reason in zip(explained.rows, explained.reasons, strict=True):
        item = row["title"] if row["item_id"] is None else f"{row['title']} [{row['item_id']}]"
        similar = "; ".join(titles.get(i, f"item {i}") for i in row["similar_history"] or [])
        cells = (str(row["rank"]), item, f"{row['score']:.3f}")
        models = (sequence_says(reason), language_says(reason))
        table.add_row(*(printable(cell) for cell in (*cells, *models, similar)))
    return table


def _item_table(explained: Explanation, item_id: int, titles: dict[int, str]) -> Table:
    trace, length = explained.trace, len(explained.rows)
    reason = explain_item(trace, item_id, explained.preset, explained.weight, length)
    missing = why_not_listed(reason, trace, set(titles), length)
    listed = [row for row in explained.rows if row["item_id"] == item_id]
    similar = listed[0]["similar_history"] or [] if listed else []
    lines = {
        "in the list": f"at rank {reason.rank} of {length}" if listed else f"no: {missing}",
        "score": NOTHING if reason.score is None else f"{reason.score:.4f}",
        "sequence model": sequence_says(reason),
        "language model": language_says(reason),
        "similarity to the first choice": _number(reason.similarity),
        "log-likelihood": _number(reason.logprob),
        "similar history": "; ".join(titles.get(i, f"item {i}") for i in similar) or NOTHING,
    }
    title = titles.get(item_id, "outside the catalog")
    table = Table(title=printable(f"{title} [{item_id}]"), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines.items():
        table.add_row(name, printable(value))
    return table


def _answer_tables(trace: Trace) -> list[Table]:
    tables = []
    for title, text in (("the prompt", trace["prompt"]), ("the answer", answer_of(trace))):
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(overflow="fold")
        table.add_row(printable(text or NOTHING))
        tables.append(table)
    return tables


def answer_of(trace: Trace) -> str:
    """Return what the language model wrote, the order in which it ranked, or how it failed."""
    if trace["error"] is not None:
        return f"the language model failed: {trace['error']}"
    if trace["title_logprobs"] is not None:
        ranked = enumerate(trace["titles"], start=1)
        return "\n".join(f"{rank}. {title}" for rank, title in ranked)
    return str(trace["generated_text"] or NOTHING)


def sequence_says(reason: Reason) -> str:
    """Say in a few words what the sequence model said of an item, and added to its score."""
    if reason.sequence_rank is None:
        return "not among its candidates" + _added(reason.sequence_part)
    said = f"rank {reason.sequence_rank}, probability {reason.probability:.4f}"
    return said + _added(reason.sequence_part)


def language_says(reason: Reason) -> str:
    """Say in a few words what the language model said of an item, and added to its score."""
    if reason.language_rank is None:
        return "not in its answer" + _added(reason.language_part)
    said = f"title {reason.language_rank}, “{reason.written}”, match {reason.match}"
    return said + _added(reason.language_part)


def printable(text: str) -> Text:
    """Return others' text for the terminal: no markup, no control codes, lines as they are."""
    return Text("".join(c if c.isprintable() or c == "\n" else " " for c in text))


def _added(part: float | None) -> str:
    return "" if part is None else f", adds {part:+.4f}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"
