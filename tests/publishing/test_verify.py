"""A staged night is published only if it is whole; the error counts and names what is wrong."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.errors import PublishError
from dualrec.publishing.verify import verify_lists
from dualrec.storage.workspace import Workspace
from tests.staged import LENGTH, NIGHT, USERS, rows, write

FOLDER = f"recommendations/run_date={NIGHT}/night-A"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path))


def refused(workspace: Workspace, *lists: list[dict], expected: np.ndarray = USERS) -> str:
    """Stage these files; return the error."""
    for part, one in enumerate(lists):
        write(workspace, FOLDER, f"part-{part}.parquet", one)
    with pytest.raises(PublishError) as caught:
        verify_lists(workspace, FOLDER, expected, NIGHT, LENGTH)
    return str(caught.value)


def test_a_whole_night_is_told_file_by_file(workspace: Workspace) -> None:
    write(workspace, FOLDER, "part-0.parquet", rows("A", [5, 1, 3]))
    write(workspace, FOLDER, "part-1.parquet", rows("A", [2], (2, 1)) + rows("A", [6, 4]))
    whole = verify_lists(workspace, FOLDER, USERS[::-1], NIGHT, LENGTH)
    assert (whole.users, whole.rows) == (6, 5 * 3 + 2)
    assert [file.rows for file in whole.files] == [9, 8]
    for file in whole.files:
        content = Path(workspace.path(f"recommendations/{file.path}")).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_list_that_lies_in_two_files_is_whole(workspace: Workspace) -> None:
    write(workspace, FOLDER, "part-0.parquet", rows("A", USERS, (1, 2)))
    write(workspace, FOLDER, "part-1.parquet", rows("A", USERS, (3,)))
    assert verify_lists(workspace, FOLDER, USERS, NIGHT, LENGTH).users == 6


def test_missing_users_are_counted_and_the_first_are_named(workspace: Workspace) -> None:
    said = refused(workspace, rows("A", USERS), expected=np.arange(1, 15))
    assert "8 users (of 14 expected) have no list: 7, 8, 9, 10, 11, …" in said
    assert "run the job again" in said


@pytest.mark.parametrize("in_one_file", [True, False])
def test_a_doubled_user_is_refused(workspace: Workspace, in_one_file: bool) -> None:
    files = [rows("A", USERS), rows("A", [4])]
    said = refused(workspace, *([files[0] + files[1]] if in_one_file else files))
    assert "1 users (of 6 expected) have a rank twice: 4" in said


def test_a_user_who_was_not_to_be_served_is_refused(workspace: Workspace) -> None:
    assert "2 users (of 6 expected) were not to be served: 0, 99" in refused(
        workspace, rows("A", [*USERS, 99, 0])
    )


@pytest.mark.parametrize("ranks", [(1, 3), (2, 3)])
def test_a_hole_in_the_ranks_is_refused(workspace: Workspace, ranks: tuple[int, ...]) -> None:
    said = refused(workspace, rows("A", USERS[:-1]), rows("A", USERS[-1:], ranks))
    assert "1 users (of 6 expected) have a hole in their ranks: 6" in said


@pytest.mark.parametrize("rank", [0, -1, LENGTH + 1])
def test_a_rank_out_of_range_is_refused(workspace: Workspace, rank: int) -> None:
    lists = rows("A", USERS)
    lists[0]["rank"] = rank
    assert "part-0.parquet: 1 rows with a rank outside 1 to 3" in refused(workspace, lists)


@pytest.mark.parametrize("column", ["user_id", "rank"])
def test_a_row_without_a_user_or_rank_is_refused(workspace: Workspace, column: str) -> None:
    lists = rows("A", USERS)
    lists[4][column] = None
    assert f"part-0.parquet: 1 rows without a {column}" in refused(workspace, lists)


def test_a_row_of_another_night_is_refused(workspace: Workspace) -> None:
    lists = rows("A", USERS)
    lists[0]["run_date"], lists[1]["run_date"] = NIGHT.replace(day=2), None
    assert f"part-0.parquet: 2 rows of another run date than {NIGHT}" in refused(workspace, lists)


def test_another_schema_is_refused_by_the_footer(workspace: Workspace) -> None:
    write(workspace, FOLDER, "part-0.parquet", rows("A", USERS))
    path = workspace.path(f"{FOLDER}/part-0.parquet")
    whole = pq.read_table(path, partitioning=None)
    for changed, said in [
        (whole.drop_columns(["score"]), "the column 'score' (float) is missing"),
        (
            whole.set_column(2, "rank", whole["rank"].cast(pa.int64())),
            "the column 'rank' is int64, expected int8",
        ),
        (whole.select([*whole.column_names[1:], "run_date"]), "the columns are ['user_id'"),
    ]:
        pq.write_table(changed, path)
        with pytest.raises(PublishError) as caught:
            verify_lists(workspace, FOLDER, USERS, NIGHT, LENGTH)
        assert said in str(caught.value)


def test_a_file_that_was_cut_off_is_named(workspace: Workspace) -> None:
    write(workspace, FOLDER, "part-0.parquet", rows("A", USERS))
    path = Path(workspace.path(f"{FOLDER}/part-0.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PublishError, match="night-A/part-0.parquet is not a whole Parquet file"):
        verify_lists(workspace, FOLDER, USERS, NIGHT, LENGTH)


def test_an_empty_folder_is_refused(workspace: Workspace) -> None:
    with pytest.raises(PublishError, match="holds no Parquet file"):
        verify_lists(workspace, FOLDER, USERS, NIGHT, LENGTH)
