"""docs/settings.md is what the settings tree says now."""

from scripts.make_settings_reference import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_a_setting_stands_with_its_values_default_and_comment() -> None:
    rows = page().splitlines()
    assert (
        "| `nightly.gates.max_metric_drop` | number from 0 to 1, or null | `0.2` "
        "| of the NDCG@10 on validation users, against the models before |"
    ) in rows
    assert any(
        row.startswith("| `sequence.resources.workers` | whole number from 0 | `1` | Ray Train")
        for row in rows
    )  # inherited
    (replicas,) = [row for row in rows if row.startswith("| `language.engine.replicas` ")]
    assert replicas.endswith(
        "| At most so many, as there is work; 0: as many as the GPUs of the cluster hold, "
        "and one on CPUs. |"
    )
