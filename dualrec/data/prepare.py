"""The job `prepare`: raw files in; catalog/VERSION and histories/VERSION out, sharded by user."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data

from dualrec.assets.fetch import dataset_name
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings, version_of
from dualrec.data.catalog import build_catalog, count_without_year
from dualrec.data.files import RawData, raw_data
from dualrec.data.histories import build_histories, item_counts, keep_items
from dualrec.data.interactions import Source, open_source, read_interactions, readable
from dualrec.data.splits import SPLITS
from dualrec.errors import InputError, WorkspaceError
from dualrec.storage.filesystems import map_in_threads, translate_storage_errors
from dualrec.storage.schemas import CATALOG
from dualrec.storage.workspace import Workspace

# of catalog, histories and splits; raised when the same files give others (CONTRIBUTING.md)
METHOD = 1
# of a task of the shuffle: with Ray's default, 1 GiB, one of two cores sorts 32 million rows
SHUFFLE_BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Prepared:
    """The catalog and histories that a later job rests on."""

    version: str
    dataset: str
    catalog: pa.Table
    histories: str  # the artifact's name

    def read_histories(self, workspace: Workspace, split: str) -> ray.data.Dataset:
        """A dataset of schema HISTORIES: the users of one split, or of "all".

        Raises:
            InputError: the files hold other rows than those that `prepare` wrote, one a user.
        """
        names = SPLITS if split == "all" else (split,)
        content = workspace.content(self.histories)
        files = {name: workspace.parquet_files(f"{content}/split={name}") for name in names}
        written = workspace.description(self.histories)["users"]
        for name, paths in files.items():
            _check_rows(workspace, f"{content}/split={name}", paths, written[name])
        return ray.data.read_parquet(
            [path for paths in files.values() for path in paths],
            filesystem=workspace.filesystem,
            partitioning=None,
        )


def prepare(settings: Settings, force: bool = False) -> Summary:
    """Read the data source and write the catalog and the histories, unless they are there.

    Raises:
        AssetError: the source cannot be had.
        InputError: it is not what it should be.
        WorkspaceError: the workspace cannot be written.
    """
    workspace = Workspace.of(settings)
    raw = raw_data(settings)
    version = version_of(METHOD, settings.data, *raw.fingerprints())
    if workspace.has(f"histories/{version}") and workspace.has(f"catalog/{version}") and not force:
        return _summary(workspace, version, "already there")
    with ray_session(settings.cluster):
        _write(workspace, version, settings, raw)
    return _summary(workspace, version, "written")


def prepare_for_models(settings: Settings, data_version: str) -> Prepared:
    """Histories of the data source as it is now, of the items that models of an earlier data
    version know.

    Written unless they are there; the catalog stays that of the earlier version. Needs a Ray
    session.

    Raises:
        AssetError: the source cannot be had.
        InputError: it is not what it should be.
        WorkspaceError: there is no such catalog, or the workspace cannot be written.
    """
    workspace = Workspace.of(settings)
    earlier, raw = prepared_as(workspace, data_version), raw_data(settings)
    prints = raw.fingerprints()
    if version_of(METHOD, settings.data, *prints) == data_version:
        return earlier
    version = version_of(METHOD, settings.data, *prints, data_version)
    name = f"histories/{version}"
    if not workspace.has(name):
        _write_histories(workspace, name, settings, raw, earlier)
    return replace(earlier, histories=name)


def prepared(workspace: Workspace, settings: Settings) -> Prepared:
    """The newest catalog and histories made with these data settings.

    Raises:
        WorkspaceError: there are none.
    """
    found = workspace.newest("histories", {"data_settings": data_settings_version(settings)})
    if found is None:
        raise WorkspaceError(
            f"{workspace.uri} holds no histories of {settings.data.source} with these data settings: "
            "run `dualrec prepare` first, with the same --config and --set"
        )
    return prepared_as(workspace, found.rpartition("/")[2])


def data_settings_version(settings: Settings) -> str:
    """The version of how histories are prepared, whatever the files hold."""
    return version_of(METHOD, settings.data)


def prepared_as(workspace: Workspace, version: str) -> Prepared:
    """The catalog and histories of one version.

    Raises:
        WorkspaceError: they are not there.
    """
    dataset = workspace.description(f"catalog/{version}")["dataset"]
    catalog = workspace.read_table(workspace.content(f"catalog/{version}"), CATALOG)
    return Prepared(version, dataset, catalog, f"histories/{version}")


def _check_rows(workspace: Workspace, name: str, paths: list[str], users: int) -> None:
    """Raise an InputError unless some Parquet files of the workspace hold one row a user, by their
    footers."""

    def rows(path: str) -> int:
        with translate_storage_errors(path):
            return int(pq.read_metadata(path, filesystem=workspace.filesystem).num_rows)

    found = sum(map_in_threads(rows, paths))
    if found != users:
        raise InputError(
            f"{workspace.uri}/{name} holds {found} rows in {len(paths)} files, and `prepare` wrote {users}, one a user: "
            "a file was added, copied or lost there; make it anew with `dualrec prepare --force`"
        )


def _write(workspace: Workspace, version: str, settings: Settings, raw: RawData) -> None:
    source = open_source(raw.data, raw.items, settings.data, settings.cache)
    grouped = _grouped(source, settings, workspace)
    counts = pa.concat_tables(
        _tables(
            grouped.histories.map_batches(item_counts, batch_format="pyarrow", batch_size=None)
        ),
        promote_options="none",
    )
    catalog = build_catalog(source.items, counts, settings.data.top_items)
    histories, described = _kept(grouped, catalog, settings)
    described |= {"data_settings": data_settings_version(settings), "method": METHOD}
    with workspace.writing(f"catalog/{version}", described) as folder:
        workspace.write_table(catalog, f"{folder}/part-0.parquet")
    _write_splits(workspace, f"histories/{version}", histories, described)


def _write_histories(
    workspace: Workspace, name: str, settings: Settings, raw: RawData, earlier: Prepared
) -> None:
    source = open_source(raw.data, raw.items, settings.data, settings.cache)
    grouped = _grouped(source, settings, workspace)
    histories, described = _kept(grouped, earlier.catalog, settings)
    _write_splits(workspace, name, histories, described | {"items_of": earlier.version})


class _Grouped(NamedTuple):
    """One history a user, of all items, in memory, and their `_totals`."""

    histories: ray.data.Dataset
    total: dict[str, int]


def _grouped(source: Source, settings: Settings, workspace: Workspace) -> _Grouped:
    ray.data.DataContext.get_current().shuffle_input_batch_bytes = SHUFFLE_BATCH_BYTES
    with readable(source, workspace) as within_reach:
        histories = (
            read_interactions(within_reach, settings.data)
            .repartition(settings.data.shards, keys=["user_id"])
            .map_batches(
                partial(build_histories, settings=settings.data),
                batch_format="pyarrow",
                batch_size=None,
            )
        ).materialize()
    total = _totals(histories)
    if total["rows"] == total["later"]:
        when = f" before data.until ({settings.data.until})" if total["rows"] else ""
        raise InputError(
            f"{settings.data.source} holds no interaction{when}: there is nothing to learn from"
        )
    _check_splits({name: total[name] for name in SPLITS}, settings)
    return _Grouped(histories, total)


def _kept(
    grouped: _Grouped, catalog: pa.Table, settings: Settings
) -> tuple[ray.data.Dataset, dict[str, Any]]:
    """The histories of the catalog's items, in memory, and their description, which accounts for
    every row."""
    total = grouped.total
    rows, distinct, users = total["rows"], total["distinct"], {name: total[name] for name in SPLITS}
    kept = catalog.column("item_id").to_numpy()
    histories = grouped.histories.map_batches(
        keep_items, fn_kwargs={"kept": kept}, batch_format="pyarrow", batch_size=None
    ).materialize()
    in_histories = _totals(histories)["distinct"]
    return histories, {
        "dataset": dataset_name(settings.data.source),
        "settings": settings.data.model_dump(mode="json"),
        "users": users,
        "items": len(catalog),
        "items_without_year": count_without_year(catalog),
        "interactions": {
            "read": rows,
            "kept": in_histories,
            "dropped: at data.until or later": total["later"],
            "dropped: repeated by the user": rows - total["later"] - distinct,
            "dropped: not among the top items": distinct - in_histories,
        },
    }


def _write_splits(
    workspace: Workspace, name: str, histories: ray.data.Dataset, described: dict[str, Any]
) -> None:
    with workspace.writing(name, described) as folder:
        for split in SPLITS:
            of_split = histories.map_batches(
                _only, fn_kwargs={"split": split}, batch_format="pyarrow", batch_size=None
            )
            of_split.write_parquet(f"{folder}/split={split}", filesystem=workspace.filesystem)


def _only(block: pa.Table, split: str) -> pa.Table:
    return block.filter(pc.equal(block.column("split"), split))


def _totals(histories: ray.data.Dataset) -> dict[str, int]:
    """Rows read, rows that came too late, distinct (user, item) pairs, and users of each split."""

    def count(block: pa.Table) -> pa.Table:
        split = block.column("split").to_pylist()
        row = {name: split.count(name) for name in SPLITS}
        for name, column in (("rows", "interactions"), ("later", "later")):
            row[name] = (
                pc.sum(block.column(column)).as_py() or 0 if column in block.column_names else 0
            )
        row["distinct"] = len(pc.list_flatten(block.column("item_ids")))
        return pa.Table.from_pylist([row])

    total = dict.fromkeys((*SPLITS, "rows", "later", "distinct"), 0)
    for sums in _tables(histories.map_batches(count, batch_format="pyarrow", batch_size=None)):
        for row in sums.to_pylist():
            total = {name: value + row[name] for name, value in total.items()}
    return total


def _check_splits(users: dict[str, int], settings: Settings) -> None:
    empty = [name for name, count in users.items() if count == 0]
    if empty:
        raise InputError(
            f"{settings.data.source}: the split leaves no user for {' and '.join(empty)} ({sum(users.values())} users in "
            f"all); change data.train_fraction ({settings.data.train_fraction}), data.validation_fraction "
            f"({settings.data.validation_fraction}) or data.seed, or bring more users"
        )


def _tables(dataset: ray.data.Dataset) -> list[pa.Table]:
    return list(dataset.iter_batches(batch_format="pyarrow", batch_size=None))


def _summary(workspace: Workspace, version: str, state: str) -> Summary:
    made = workspace.description(f"histories/{version}")
    lines: dict[str, object] = {
        "data set": made["dataset"],
        "version": f"{version} ({state})",
        "items": made["items"],
    }
    if made["items_without_year"]:
        lines["items without a year"] = made["items_without_year"]
    lines |= {f"{split} users": count for split, count in made["users"].items()}
    lines |= {f"interactions {name}": count for name, count in made["interactions"].items()}
    places = {
        name: f"{workspace.uri}/" + workspace.content(f"{name}/{version}")
        for name in ("catalog", "histories")
    }
    return Summary("prepare", lines, places)
