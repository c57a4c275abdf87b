"""Nights in a row on a local cluster: who is scored, what is carried over, what is published and
what is kept back."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from dualrec.errors import GateError, PublishError, SettingsError
from dualrec.nightly.nightly import nightly
from dualrec.publishing.manifest import current_manifest
from dualrec.publishing.publish import roll_back
from dualrec.storage.workspace import Workspace
from tests.nightly.site import FIRST, LENGTH, SECOND, Site
from tests.readers import through_delta, through_manifest

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def _lists(site: Site, night: str) -> Mapping[int, list[str]]:
    """User to titles, as both kinds of readers see them."""
    workspace, run_date = Workspace(site.workspace), date.fromisoformat(night)
    rows = through_manifest(workspace, run_date)
    assert rows == through_delta(workspace, run_date)
    lists: dict[int, list[str]] = {}
    for user, rank, title in rows:
        lists.setdefault(user, []).append(title)
        assert rank == len(lists[user])
    return lists


def _manifest(site: Site, night: str) -> Any:
    return current_manifest(Workspace(site.workspace), date.fromisoformat(night))


def test_a_first_night_serves_every_user_and_tells_what_it_cost(site: Site) -> None:
    lists = _lists(site, FIRST)
    assert sorted(lists) == sorted(site.lengths)
    assert {len(titles) for titles in lists.values()} == {LENGTH}
    manifest = _manifest(site, FIRST)
    assert (manifest.metrics["scored"], manifest.metrics["carried"]) == (len(lists), 0)
    assert manifest.cost["tokens_in"] == 60 * (len(lists) + 5)
    assert manifest.cost["worker_seconds"]["sequence"] > 0
    assert set(manifest.models) == {"sequence", "language", "data", "histories"}


def test_the_same_command_again_says_that_it_is_done_and_asks_nobody(site: Site) -> None:
    summary = nightly(site.settings_of(FIRST))
    assert "already published" in str(summary.lines["run date"])
    assert not site.asked()
    assert _manifest(site, FIRST).number == 1


def test_only_users_with_another_history_are_scored_again(site: Site) -> None:
    before = _lists(site, FIRST)
    site.watch(3, 4)
    summary = nightly(site.settings_of(SECOND))
    assert sum(site.asked().values()) == 2, "and no calibration: the models are the same"
    assert summary.lines["scored"] == 2
    after = _lists(site, SECOND)
    assert sorted(after) == sorted(before)
    assert {user for user in after if after[user] != before[user]} <= {3, 4}
    assert _lists(site, FIRST) == before
    metrics = _manifest(site, SECOND).metrics
    assert (metrics["carried"], metrics["oldest_list"]) == (len(before) - 2, FIRST)


def test_a_change_of_settings_scores_everybody_with_the_same_models(site: Site) -> None:
    nightly(site.settings_of(SECOND, "language.history_length=4"))
    assert sum(site.asked().values()) == len(site.lengths) + 5
    assert _manifest(site, SECOND).models["sequence"] == _manifest(site, FIRST).models["sequence"]


def test_models_are_trained_anew_when_told_and_serve_the_nights_after(site: Site) -> None:
    site.watch(3)
    nightly(site.settings_of(SECOND, "nightly.train=true"))
    told = _manifest(site, SECOND)
    assert told.models["data"] != _manifest(site, FIRST).models["data"]
    assert told.metrics["carried"] == 0
    site.watch(3)
    nightly(site.settings_of("2026-11-03"))
    assert _manifest(site, "2026-11-03").models == told.models | {
        "histories": _manifest(site, "2026-11-03").models["histories"]
    }


def test_models_are_trained_anew_when_they_are_old(site: Site) -> None:
    site.watch(3)
    nightly(site.settings_of("2099-01-01"))
    assert _manifest(site, "2099-01-01").models["data"] != _manifest(site, FIRST).models["data"]


def test_a_failed_gate_keeps_the_snapshot_unpublished_until_it_is_loosened_or_settings_change(
    site: Site,
) -> None:
    site.watch(*site.lengths)
    site.endpoint.text, good = "A Title In No Catalog (1900)", site.endpoint.text
    try:
        with pytest.raises(
            GateError, match=r"titles resolved: 0\.000, at least 0\.5: FAILED"
        ) as failed:
            nightly(site.settings_of(SECOND))
        assert failed.value.exit_code == 3
        assert not _lists(site, SECOND)
        assert sum(site.asked().values()) == len(site.lengths)
        with pytest.raises(SettingsError, match="begun with other settings"):
            nightly(site.settings_of(SECOND, "ranking.length=4"))
        nightly(site.settings_of(SECOND, "nightly.gates.min_titles_resolved=null"))
    finally:
        site.endpoint.text = good
    assert not site.asked(), "nobody is asked twice"
    assert sorted(_lists(site, SECOND)) == sorted(site.lengths)
    report = json.loads(
        Workspace(site.workspace).read_bytes(
            f"reports/nightly/run_date={SECOND}/{_manifest(site, SECOND).run_id}.json"
        )
    )
    assert report["published"] is True
    assert [gate["passed"] for gate in report["gates"] if gate["name"] == "titles resolved"] == [
        None
    ]


def test_force_scores_everybody_again_and_what_is_rolled_back_is_not_published_again_by_itself(
    site: Site,
) -> None:
    first, lists = _manifest(site, FIRST), _lists(site, FIRST)
    nightly(site.settings_of(FIRST), force=True)
    assert sum(site.asked().values()) == len(site.lengths)
    again = _manifest(site, FIRST)
    assert (again.number, again.metrics["carried"]) == (2, 0)
    assert again.run_id != first.run_id
    roll_back(Workspace(site.workspace), date.fromisoformat(FIRST))
    with pytest.raises(PublishError, match="--force"):
        nightly(site.settings_of(FIRST))
    assert _lists(site, FIRST) == lists


def test_users_on_whom_the_language_model_failed_have_a_list_and_are_scored_the_next_night(
    site: Site,
) -> None:
    site.watch(*range(1, 31))
    site.endpoint.faults = iter([400, 400])
    nightly(site.settings_of(SECOND, "nightly.gates.max_error_rate=0.1"))
    assert _manifest(site, SECOND).metrics["errors"] == 2
    assert sorted(_lists(site, SECOND)) == sorted(site.lengths)
    site.asked()
    nightly(site.settings_of("2026-11-03"))
    assert sum(site.asked().values()) == 2
    assert _manifest(site, "2026-11-03").metrics["errors"] == 0


def test_a_new_movie_in_the_data_is_left_out_until_models_know_it(site: Site) -> None:
    with (site.source / "movies.dat").open("a", encoding="latin-1") as movies:
        movies.write("9999::Unheard Of (2026)::Drama\n")
    with (site.source / "ratings.dat").open("a", encoding="latin-1") as ratings:
        ratings.writelines(f"{user}::9999::5::5000\n" for user in site.lengths)
    nightly(site.settings_of(SECOND))
    assert not site.asked(), (
        "no history of known movies changed, and a night in which nothing changed costs nothing"
    )
    assert _lists(site, SECOND) == _lists(site, FIRST)
    manifest = _manifest(site, SECOND)
    assert manifest.metrics["carried"] == len(site.lengths)
    assert manifest.cost["engine_seconds"] == 0
