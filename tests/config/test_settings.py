import traceback
from pathlib import Path

import pytest

from dualrec.config.settings import MemberSettings, Settings, load_settings, overridden, version_of
from dualrec.errors import SettingsError


def test_a_file_is_read_and_overrides_lie_over_it(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("data: {source: ml-1m, top_items: 50}\nsequence: {epochs: 3}\n")
    settings = load_settings(str(config), ["sequence.epochs=7", "data.seed=5"])
    assert (
        settings.data.source,
        settings.data.top_items,
        settings.sequence.epochs,
        settings.data.seed,
    ) == (
        "ml-1m",
        50,
        7,
        5,
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sequence.epoch=3", "sequence.epoch: no such setting; there are preset, item_dimension"),
        ("sequence.epochs=many", "sequence.epochs: Input should be a valid integer"),
        ("sequence.epochs=0", "greater than or equal to 1"),
        ("sequence.epochs", "expected KEY=VALUE"),
        ("workspace.x=1", "workspace"),
        ("data.train_fraction=0.95", "together exceed 1"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(override: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        load_settings(None, [override])


def test_the_published_prompt_ranks_nothing() -> None:
    with pytest.raises(SettingsError, match="prompt=paper asks for titles"):
        load_settings(None, ["language.mode=rank", "language.prompt=paper"])


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(str(tmp_path / "none.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("data: [1,")
    with pytest.raises(SettingsError, match="broken.yaml is not YAML"):
        load_settings(str(broken))


@pytest.mark.parametrize(
    "evil",
    [
        "!!python/object/apply:os.system ['touch CANARY']",
        "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [CANARY]]",
        "!!python/object/new:os.system ['touch CANARY']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:dualrec.errors.SettingsError {}",
    ],
)
def test_a_tag_makes_no_object(tmp_path: Path, evil: str) -> None:
    canary, config = tmp_path / "canary", tmp_path / "evil.yaml"
    evil = evil.replace("CANARY", str(canary))
    config.write_text(f"data:\n  source: {evil}\n")
    with pytest.raises(
        SettingsError, match=r"evil.yaml is not YAML: could not determine a constructor.*line 2"
    ):
        load_settings(str(config))
    with pytest.raises(SettingsError, match="--set data.source=…: the value is not YAML"):
        load_settings(None, [f"data.source={evil}"])
    assert not canary.exists()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("evil", "said"),
    [
        ("data: &data {source: *data}", "data.source"),
        ("data: " + "[" * 50_000, "nested too deep"),
        ("data: {until: 1" + "0" * 100_000 + "}", "not YAML"),
        ("recommend: {run_date: 2026-13-45}", "month must be in 1..12"),
        ("data: {source: \x00}", "not YAML"),
        ("data: {source: a: b}", "but got ':', line 1, column 17"),
    ],
    ids=["itself", "deep", "digits", "date", "nul", "colon"],
)
def test_a_file_that_cannot_be_read_as_settings_is_refused_with_a_short_error(
    tmp_path: Path, evil: str, said: str
) -> None:
    config = tmp_path / "evil.yaml"
    config.write_text(evil)
    with pytest.raises(SettingsError, match=said) as raised:
        load_settings(str(config))
    assert len(str(raised.value)) < 1000


def test_aliases_of_a_sane_file_are_read(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "sequence: {resources: &two {workers: 2}}\nfinetune: {resources: {<<: *two, threads: 1}}\n"
    )
    settings = load_settings(str(config))
    assert (settings.sequence.resources.workers, settings.finetune.resources.workers) == (2, 2)


@pytest.mark.parametrize(
    "override",
    [
        "language.endpoint.api_key=SECRET: [",
        "language.endpoint.url.key=SECRET",
        "language.endpoint=SECRET",
        "recommend.trace_salt_env=SECRET and more",
        "language.endpoint.api_key_env=[SECRET]",
    ],
)
def test_a_key_that_was_set_by_mistake_is_not_told_again(tmp_path: Path, override: str) -> None:
    key = override.partition("=")[0]
    config = tmp_path / "c.yaml"
    config.write_text(
        f"language: {{endpoint: {{url: 'http://x'}}}}\n{key.split('.')[-1]}: SECRET: SECRET\n"
    )
    told = []
    for where, overrides in ((None, [override]), (str(config), [])):
        try:
            load_settings(where, ["language.endpoint.url=http://host", *overrides])
        except SettingsError:
            told.append(traceback.format_exc())
    assert len(told) == 2
    assert "SECRET" not in "".join(told).replace(f"{override!r}", "")


def test_versions_follow_what_is_learned_and_not_where_it_runs() -> None:
    base = Settings().sequence
    elsewhere = load_settings(None, ["sequence.resources.workers=4"]).sequence
    other = load_settings(None, ["sequence.dropout=0.1"]).sequence
    assert version_of(base) == version_of(elsewhere) != version_of(other)


@pytest.mark.parametrize(
    "patience",
    [
        "network.store.attempts=2",
        "network.downloads.pause_s=3",
        "nightly.lease_seconds=0.5",
        "serving.poll_seconds=1",
    ],
)
def test_how_long_anything_is_waited_for_makes_no_other_version(patience: str) -> None:
    assert version_of(load_settings(None, [patience])) == version_of(Settings())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().workspace = "elsewhere"  # type: ignore[misc]


def test_the_paper_preset_sets_the_network_unless_a_setting_says_otherwise() -> None:
    paper = load_settings(None, ["sequence.preset=paper", "sequence.dropout=0.1"]).sequence
    assert (paper.members, paper.dropout) == ((MemberSettings(),), 0.1)


def test_another_preset_laid_over_takes_the_first_one_back_and_keeps_what_was_set() -> None:
    paper = load_settings(None, ["sequence.preset=paper", "sequence.epochs=3"])
    improved = overridden(paper, ["sequence.preset=improved"]).sequence
    assert improved == load_settings(None, ["sequence.epochs=3"]).sequence
    assert overridden(Settings(), ["sequence.preset=paper"]).sequence.members == (MemberSettings(),)


@pytest.mark.parametrize(
    "profile", sorted(Path("jobs/configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_profile_is_read(profile: Path) -> None:
    assert load_settings(str(profile)) != Settings()
