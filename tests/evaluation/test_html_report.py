import tomllib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dualrec.evaluation.html_report import TEMPLATE, html_report
from tests.evaluation.benchmark_metrics import benchmark_metrics

ROOT = Path(__file__).parents[2]
NAUGHTY = """<script>alert("x")</script> & '$5'"""
VOID = {"meta", "br", "link", "img", "input", "hr"}


class _Page(HTMLParser):
    """Tags with their attributes, and that every one is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return html_report(benchmark_metrics())


@pytest.fixture(scope="module")
def page(html: str) -> _Page:
    return _Page(html)


def test_the_page_needs_nothing_else(html: str, page: _Page) -> None:
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "http" not in html and "@import" not in html and "url(" not in html.replace("url(#", "")
    assert all(str(one["href"]).startswith("#") for one in page.all("a"))


def test_every_id_is_there_once_and_every_reference_finds_its_own(page: _Page) -> None:
    ids = Counter(one["id"] for _, one in page.tags if "id" in one)
    assert [name for name, times in ids.items() if times > 1] == []
    wanted = {str(one["href"])[1:] for tag, one in page.tags if tag in ("a", "use")}
    wanted |= {name for _, one in page.tags for name in str(one.get("aria-labelledby", "")).split()}
    assert wanted <= ids.keys()


def test_heads_of_tables_have_a_scope_and_plots_a_name(page: _Page) -> None:
    assert page.all("table") and all(
        one.get("scope") in ("col", "row", "rowgroup") for one in page.all("th")
    )
    assert len(page.all("svg")) == 6  # genres, popularity, ablations, two costs, a curve
    assert all(one["role"] == "img" and one["aria-labelledby"] for one in page.all("svg"))


def test_the_leak_the_warning_the_commands_and_the_counts_are_told(html: str) -> None:
    assert '<tbody class="leak">' in html and "it has seen the answers" in html
    assert "<strong>Warning:</strong> STAMP is not clearly above guessing" in html
    assert "<pre>dualrec benchmark --config six.yaml</pre>" in html
    assert "Cold users: 12; cold items among the hidden: 3.0%." in html
    assert "<summary>SASRec: 2 tried</summary>" in html


def test_names_are_data_wherever_they_stand() -> None:
    metrics = _renamed(
        benchmark_metrics(),
        {"SASRec": NAUGHTY, "six movies": NAUGHTY, "next_item": "next_item" + NAUGHTY},
    )
    metrics["commands"] = [NAUGHTY]
    metrics["systems"][NAUGHTY]["paper"] = NAUGHTY
    metrics["systems"][NAUGHTY]["parameters"] = {NAUGHTY: NAUGHTY}
    text = html_report(metrics)
    assert "script" not in {tag for tag, _ in _Page(text).tags}
    assert "<script" not in text and text.count("&lt;script&gt;") > 20


def test_what_evaluate_measures_without_a_benchmark_is_a_page_too() -> None:
    metrics = benchmark_metrics()
    kept = {key: metrics[key] for key in ("dataset", "settings_hash", "decoding", "validation")}
    result = {
        key: metrics["protocols"]["next_item"][key] for key in ("users", "models", "published")
    }
    page = _Page(html_report(kept | {"protocols": {"last_five": result}}))
    assert len(page.all("svg")) == 2  # genres and popularity


def test_the_template_is_installed_with_the_package() -> None:
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    assert TEMPLATE in package_data["dualrec.evaluation"]


def _renamed(part: Any, names: dict[str, str]) -> Any:
    if isinstance(part, dict):
        return {names.get(key, key): _renamed(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [_renamed(value, names) for value in part]
    return names.get(part, part) if isinstance(part, str) else part
