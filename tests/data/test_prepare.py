"""The job `prepare` on a local cluster, with good and with bad input."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.config.settings import Settings
from dualrec.data.prepare import prepare, prepared
from dualrec.errors import DualrecError, InputError
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace
from tests.conftest import cyclic_ratings, numbered_movies, write_movielens_1m

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
SettingsFor = Callable[..., Settings]


def _histories(settings: Settings) -> dict[int, list[int]]:
    workspace = Workspace.of(settings)
    table = workspace.read_table(
        workspace.content(prepared(workspace, settings).histories), HISTORIES
    )
    return dict(
        zip(*(table.column(name).to_pylist() for name in ("user_id", "item_ids")), strict=True)
    )


def test_catalog_and_histories_are_what_the_file_says(
    movielens: Path, settings_for: SettingsFor
) -> None:
    settings = settings_for(f"data.source={movielens}")
    summary = prepare(settings)
    assert _histories(settings) == {
        user: [(user * 7 + step) % 12 + 1 for step in range(9)] for user in range(1, 61)
    }
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    for split in ("train", "validation", "test"):
        table = workspace.read_table(
            f"{workspace.content(data.histories)}/split={split}", HISTORIES
        )
        assert set(table.column("split").to_pylist()) == {split}
    train = workspace.read_table(f"{workspace.content(data.histories)}/split=train", HISTORIES)
    assert sum(data.catalog.column("popularity").to_pylist()) == sum(
        map(len, train.column("item_ids").to_pylist())
    )
    assert summary.lines["interactions read"] == summary.lines["interactions kept"] == 540


def test_small_blocks_give_the_same_histories(
    movielens: Path, settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = settings_for(f"data.source={movielens}", "data.seed=1")
    prepare(whole)
    pieces = settings_for(f"data.source={movielens}", "data.seed=2")
    monkeypatch.setattr("dualrec.data.interactions.text.byte_ranges", _tiny_ranges)
    prepare(pieces)
    assert _histories(whole) == _histories(pieces)


def _tiny_ranges(path: str, size: int, block_bytes: int) -> list[tuple[int, int]]:
    return [(start, min(start + 1000, size)) for start in range(0, size, 1000)]


def test_a_second_run_says_that_it_is_done(movielens: Path, settings_for: SettingsFor) -> None:
    settings = settings_for(f"data.source={movielens}")
    assert "written" in str(prepare(settings).lines["version"])
    assert "already there" in str(prepare(settings).lines["version"])


def test_the_top_items_are_kept_and_every_row_is_accounted_for(
    movielens: Path, settings_for: SettingsFor
) -> None:
    settings = settings_for(f"data.source={movielens}", "data.top_items=5")
    lines = prepare(settings).lines
    assert lines["items"] == 5
    dropped = lines["interactions dropped: not among the top items"]
    assert isinstance(dropped, int)
    assert lines["interactions kept"] == 540 - dropped
    assert len(_histories(settings)) == 60


def test_a_users_own_table_becomes_the_same_histories(
    movielens: Path, settings_for: SettingsFor, tmp_path: Path
) -> None:
    rows = cyclic_ratings(60, 12, 9)
    columns = dict(
        zip(
            ("member", "film", "at"),
            zip(*[(u, i, t) for u, i, _, t in rows], strict=True),
            strict=True,
        )
    )
    pq.write_table(
        pa.table({name: list(values) for name, values in columns.items()}),
        tmp_path / "views.parquet",
        row_group_size=100,
    )
    films = {"film": list(range(1, 13)), "name": [numbered_movies(12)[n][0] for n in range(1, 13)]}
    pq.write_table(pa.table(films), tmp_path / "films.parquet")
    settings = settings_for(
        f"data.source={tmp_path / 'views.parquet'}", f"data.items={tmp_path / 'films.parquet'}",
        "data.columns={user_id: member, item_id: film, timestamp: at, rating: null, title: name}",
    )  # fmt: skip
    prepare(settings)
    published = settings_for(f"data.source={movielens}")
    prepare(published)
    assert _histories(settings) == _histories(published)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "ratings.dat",
            "1::1::5::100\n1::2::5::1oo\n",
            r"ratings.dat, line 2: timestamp should be double, found '1oo'",
        ),
        (
            "ratings.dat",
            "1::1::5::100\n1,2,5,100\n",
            r"ratings.dat, line 2: expected 4 fields .* found 1",
        ),
        (
            "ratings.dat",
            "1::1::5::100\n2::99::5::100\n",
            r"ratings.dat, line 2: item 99 is described nowhere",
        ),
        ("ratings.dat", "", r"ratings.dat is empty"),
        ("ratings.dat", "\n\n", r"holds no interaction"),
        ("ratings.dat", "1::1::5::100\n", r"the split leaves no user for"),
        ("movies.dat", "1::Heat (1995)::Soap\n", r"movies.dat, line 1: unknown genre 'Soap'"),
        ("movies.dat", "1|Heat (1995)|Action\n", r"movies.dat, line 1: expected 3 fields"),
    ],
)
def test_bad_files_are_named_and_leave_earlier_artifacts(
    movielens: Path, settings_for: SettingsFor, name: str, text: str, said: str
) -> None:
    settings = settings_for(f"data.source={movielens}")
    prepare(settings)
    before = _histories(settings)
    (movielens / name).write_text(text)
    with pytest.raises(InputError, match=said):
        prepare(settings)
    assert _histories(settings) == before


def test_a_missing_source_is_named(settings_for: SettingsFor) -> None:
    with pytest.raises(DualrecError, match="nowhere"):
        prepare(settings_for("data.source=nowhere"))


def test_a_title_without_a_year_is_kept_without_one(
    tmp_path: Path, settings_for: SettingsFor
) -> None:
    movies = numbered_movies(12) | {3: ("Babylon 5", "Drama")}
    folder = write_movielens_1m(tmp_path / "m", cyclic_ratings(60, 12, 9), movies)
    settings = settings_for(f"data.source={folder}")
    assert prepare(settings).lines["items without a year"] == 1
    catalog = prepared(Workspace.of(settings), settings).catalog.to_pylist()
    assert next(row["year"] for row in catalog if row["item_id"] == 3) is None


def test_a_copied_file_of_histories_is_noticed(movielens: Path, settings_for: SettingsFor) -> None:
    settings = settings_for(f"data.source={movielens}")
    prepare(settings)
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    first = workspace.parquet_files(f"{workspace.content(data.histories)}/split=train")[0]
    pq.write_table(pq.read_table(first, partitioning=None), Path(first).with_name("copy.parquet"))
    with pytest.raises(
        InputError,
        match=r"split=train holds \d+ rows in \d files, and `prepare` wrote \d+, one a user",
    ):
        data.read_histories(workspace, "train")


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path, settings_for: SettingsFor) -> None:
    ratings = [(user, item, 5, 100) for user in range(1, 40) for item in (3, 1, 2)]
    settings = settings_for(
        f"data.source={write_movielens_1m(tmp_path / 'm', ratings, numbered_movies(3))}"
    )
    prepare(settings)
    assert set(map(tuple, _histories(settings).values())) == {(3, 1, 2)}


def _own_tables(folder: Path, files: int) -> list[str]:
    """Interactions in so many Parquet files, users spread over all of them, and the settings that
    name them."""
    (folder / "views").mkdir()
    names = ("user_id", "item_id", "rating", "timestamp")
    rows = pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in cyclic_ratings(60, 12, 9)]
    )
    for number in range(files):
        pq.write_table(
            rows.take(list(range(number, len(rows), files))),
            folder / f"views/part-{number:03d}.parquet",
        )
    titles = [title for title, _ in numbered_movies(12).values()]
    pq.write_table(pa.table({"item_id": range(1, 13), "title": titles}), folder / "films.parquet")
    return [f"data.source={folder / 'views'}", f"data.items={folder / 'films.parquet'}"]


def _corrupt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56  # pages, not the footer: only reading the rows shows it
    file.write_bytes(content)


def test_one_corrupt_file_among_hundreds_is_named_and_nothing_is_written(
    tmp_path: Path, settings_for: SettingsFor
) -> None:
    settings = settings_for(*_own_tables(tmp_path, 200))
    _corrupt(tmp_path / "views/part-117.parquet")
    with pytest.raises(InputError, match=r"part-117.parquet, row group 0 cannot be read"):
        prepare(settings)
    assert not Workspace.of(settings).folders("histories")
    assert not Workspace.of(settings).folders("catalog")


def test_files_that_are_no_parquet_are_all_named(tmp_path: Path, settings_for: SettingsFor) -> None:
    settings = settings_for(*_own_tables(tmp_path, 9))
    for number in (2, 3, 4, 5, 6, 7, 8):
        (tmp_path / f"views/part-{number:03d}.parquet").write_text("not parquet")
    with pytest.raises(InputError, match=r"(?s)part-002.*part-006.*\nand 2 more files$"):
        prepare(settings)
