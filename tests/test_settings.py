from pathlib import Path

import pytest

from dualrec.errors import SettingsError
from dualrec.settings import MemberSettings, Settings, load_settings, overridden, version_of


def test_a_file_is_read_and_overrides_lie_over_it(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("data: {source: ml-1m, top_items: 50}\nsequence: {epochs: 3}\n")
    settings = load_settings(str(config), ["sequence.epochs=7", "data.seed=5"])
    assert (settings.data.source, settings.data.top_items, settings.sequence.epochs, settings.data.seed) == (
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


def test_versions_follow_what_is_learned_and_not_where_it_runs() -> None:
    base = Settings().sequence
    elsewhere = load_settings(None, ["sequence.resources.workers=4"]).sequence
    other = load_settings(None, ["sequence.dropout=0.1"]).sequence
    assert version_of(base) == version_of(elsewhere) != version_of(other)


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


@pytest.mark.parametrize("profile", sorted(Path("jobs/configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_is_read(profile: Path) -> None:
    assert load_settings(str(profile)) != Settings()
