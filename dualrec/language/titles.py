"""From generated text to titles, and from titles to items of the catalog. Knows strings and tables;
no model.

MovieLens writes articles at the end ("Bug's Life, A (1998)"), adds other names in parentheses
("Seven (Se7en) (1995)") and repeats titles of different years, so a title's key is its words with
the article in front, and its year.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from dualrec.data.titles import without_year, year_of
from dualrec.language.spelling import Spellings

Match = Literal["exact", "fuzzy", "none"]

_ARTICLES = "the|a|an|les|le|la|los|las|el|il|lo|i|der|die|das|den|det|en|ein|eine|une|un|o|os|as"
_INVERTED = re.compile(rf"^(.*), ({_ARTICLES})$", re.IGNORECASE)
_LEADING = re.compile(r"^(the|an?) (.+)$", re.IGNORECASE)
_ELIDED = re.compile(r"^(.*), (l')$", re.IGNORECASE)
_NUMBERING = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):])\s+")
_ALIAS = re.compile(r"\s*\(([^()]*)\)\s*$")
_QUOTES = "\"'“”‘’`*_ "


@dataclass(frozen=True)
class Resolved:
    """A written title and the item it names, if any."""

    title: str
    item_id: int | None
    match: Match


def parse_titles(text: str, wanted: int, cut_off: bool = False) -> list[str]:
    """The titles of an answer, one a line, in order: at most `wanted`.

    Args:
        text: what the language model wrote; numbering, quotes and thinking are taken off.
        cut_off: the answer ran into its token limit, so its last line may be half a title and is
            left out, unless it
            ends with a year.
    """
    lines = [
        line for line in _without_thinking(text).replace("<|", "\n<|").split("\n") if line.strip()
    ]
    if cut_off and lines and year_of(lines[-1]) is None:
        lines = lines[:-1]
    titles = [title for line in lines if (title := _clean(line))]
    return titles[:wanted]


def _without_thinking(text: str) -> str:
    """What stands after the thinking, whose opening mark may be in the prompt; none of it where it
    never ends."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def display_title(title: str) -> str:
    """A published title as people write it: "Bug's Life, A (1998)" gives "A Bug's Life (1998)"."""
    return _renamed(title, _article_first)


def filed_title(title: str) -> str:
    """A published title as a library files it, which is how models read and write it: "Bug's Life,
    A (1998)".

    Greedy decoding picks one token after another. With articles in front it would pick "The" for
    the weight of all titles that begin so, and be bound to one of them.
    """
    return _renamed(title, _article_last)


def _renamed(title: str, change: Callable[[str], str]) -> str:
    """A title on one line with its name changed and its year kept."""
    title = one_line(title)
    year, name = year_of(title), change(without_year(title))
    return name if year is None else f"{name} ({year})"


def one_line(text: str) -> str:
    """Printable characters only, single spaces, at most 200 characters: what a prompt or a grammar
    can hold."""
    return " ".join(
        "".join(character if character.isprintable() else " " for character in text).split()
    )[:200]


def title_key(name: str) -> str:
    """The words of a title without year: lower case, no accents, no punctuation, the article in
    front."""
    plain = (
        unicodedata.normalize("NFKD", _article_first(name))
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    words = re.sub(r"[^a-z0-9]+", " ", plain.replace("&", " and ").replace("'", "")).strip()
    return words or name.strip().lower()


class TitleIndex:
    """Finds the item that a written title names.

    Exact key and year first; then the key alone where only one item has it and the year is absent
    or within one; then the closest key by rapidfuzz's ratio among the items of the neighbouring
    years, or of all where no year is written.
    """

    def __init__(self, catalog: pa.Table, fuzzy_threshold: float) -> None:
        self.threshold = fuzzy_threshold
        self._exact: dict[tuple[str, int | None], int] = {}
        self._by_key: dict[str, set[tuple[int | None, int]]] = defaultdict(set)
        self._by_year: dict[int | None, dict[str, int]] = defaultdict(dict)
        columns = (
            catalog.column(name).to_pylist() for name in ("item_id", "title", "year", "popularity")
        )
        for item_id, title, year, _ in sorted(
            zip(*columns, strict=True), key=lambda row: (-row[3], row[0])
        ):
            for key in aliases(title):
                self._exact.setdefault((key, year), item_id)
                self._by_key[key].add((year, item_id))
                self._by_year[year].setdefault(key, item_id)

    def resolve(self, title: str) -> Resolved:
        """The item that a written title names, and how it was found."""
        year, key = year_of(title), title_key(_strip_alias(without_year(title)))
        full_key = title_key(without_year(title))
        for candidate in (full_key, key):
            item_id = self._exact.get((candidate, year), self._only(candidate, year))
            if item_id is not None:
                return Resolved(title, item_id, "exact")
        item_id = self._closest(key, year)
        return Resolved(title, item_id, "none" if item_id is None else "fuzzy")

    def _only(self, key: str, year: int | None) -> int | None:
        found = self._by_key.get(key, set())
        if len(found) != 1:
            return None
        ((its_year, item_id),) = found
        return item_id if year is None or its_year is None or abs(its_year - year) <= 1 else None

    def _closest(self, key: str, year: int | None) -> int | None:
        return self._spellings.closest(
            key, None if year is None else [year - 1, year, year + 1, None]
        )

    @cached_property
    def _spellings(self) -> Spellings:
        """Made for the first title that is not written as the catalog has it."""
        return Spellings(self._by_year, self.threshold)


def aliases(title: str) -> set[str]:
    """The keys under which a published title can be found: the whole name, without its a.k.a., and
    each a.k.a."""
    name = without_year(one_line(title))
    keys = {title_key(name)}
    while match := _ALIAS.search(name):
        name = name[: match.start()].strip()
        other = re.sub(r"^a\.?k\.?a\.?\s+", "", match.group(1), flags=re.IGNORECASE)
        keys |= {title_key(other), title_key(name)}
    return {key for key in keys if key}


def _strip_alias(name: str) -> str:
    return _ALIAS.sub("", name).strip() or name


def _article_first(name: str) -> str:
    """Move a final article to the front, within the name and before any a.k.a. in parentheses."""
    alias = _ALIAS.search(name)
    if alias and alias.start() > 0:
        return f"{_article_first(name[: alias.start()].strip())} ({_article_first(alias.group(1))})"
    if match := _INVERTED.match(name):
        return f"{match.group(2)} {match.group(1)}"
    if match := _ELIDED.match(name):
        return f"{match.group(2)}{match.group(1)}"
    return name


def _article_last(name: str) -> str:
    """Move an English article from the front to the end, before any a.k.a. in parentheses."""
    alias = _ALIAS.search(name)
    if alias and alias.start() > 0:
        return f"{_article_last(name[: alias.start()].strip())} {alias.group().strip()}"
    match = _LEADING.match(name)
    return f"{match.group(2)}, {match.group(1)}" if match else name


def _clean(line: str) -> str:
    line = _NUMBERING.sub("", line.split("<|")[0]).strip(_QUOTES)
    match = re.search(r"\(\d{4}\)", line)
    return line[: match.end()].strip(_QUOTES) if match else line
