"""The job `prepare`: raw files in; catalogue/VERSION and histories/VERSION out, sharded by user."""

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from dualrec.assets.fetch import dataset_name, resolve_dataset
from dualrec.data.catalogue import build_catalogue, without_year
from dualrec.data.histories import build_histories, check_unique_users, item_counts, keep_items
from dualrec.data.interactions import Source, open_source, read_interactions
from dualrec.data.splits import SPLITS
from dualrec.errors import InputError, WorkspaceError
from dualrec.schemas import CATALOGUE
from dualrec.session import ray_session
from dualrec.settings import Settings, version_of
from dualrec.summary import Summary
from dualrec.workspace import Workspace


@dataclass(frozen=True)
class Prepared:
    """The catalogue and histories that a later job rests on."""

    version: str
    dataset: str
    catalogue: pa.Table
    histories: str  # the artefact's name

    def read_histories(self, workspace: Workspace, split: str) -> ray.data.Dataset:
        """A dataset of schema HISTORIES: the users of one split, or of "all".

        Raises:
            InputError: a user id stands in several rows.
        """
        names = SPLITS if split == "all" else (split,)
        files = [file for name in names for file in workspace.parquet_files(f"{self.histories}/split={name}")]
        dataset = ray.data.read_parquet(files, filesystem=workspace.filesystem, partitioning=None)
        ids = [batch.column("user_id") for batch in _tables(dataset.select_columns(["user_id"]))]
        check_unique_users(
            pa.chunked_array([chunk for column in ids for chunk in column.chunks], pa.int64()), self.histories
        )
        return dataset


def prepare(settings: Settings, force: bool = False) -> Summary:
    """Read the data source and write the catalogue and the histories, unless they are there.

    Raises:
        AssetError: the source cannot be had.
        InputError: it is not what it should be.
        WorkspaceError: the workspace cannot be written.
    """
    workspace = Workspace(settings.workspace)
    version = version_of(settings.data, *_fingerprints(settings))
    if workspace.has(f"histories/{version}") and workspace.has(f"catalogue/{version}") and not force:
        return _summary(workspace, version, "already there")
    with ray_session(settings.cluster):
        _write(workspace, version, settings)
    return _summary(workspace, version, "written")


def prepare_for_models(settings: Settings, data_version: str) -> Prepared:
    """Histories of the data source as it is now, of the items that models of an earlier data version know.

    Written unless they are there; the catalogue stays that of the earlier version. Needs a Ray session.

    Raises:
        AssetError: the source cannot be had.
        InputError: it is not what it should be.
        WorkspaceError: there is no such catalogue, or the workspace cannot be written.
    """
    workspace = Workspace(settings.workspace)
    earlier, prints = prepared_as(workspace, data_version), _fingerprints(settings)
    if version_of(settings.data, *prints) == data_version:
        return earlier
    version = version_of(settings.data, *prints, data_version)
    name = f"histories/{version}"
    if not workspace.has(name):
        _write_histories(workspace, name, settings, earlier)
    return replace(earlier, histories=name)


def prepared(workspace: Workspace, settings: Settings) -> Prepared:
    """The newest catalogue and histories made with these data settings.

    Raises:
        WorkspaceError: there are none.
    """
    wanted = version_of(settings.data)
    found = workspace.newest("histories", {"data_settings": wanted})
    if found is None:
        raise WorkspaceError(
            f"{workspace.uri} holds no histories of {settings.data.source} with these data settings: "
            "run `dualrec prepare` first, with the same --config and --set"
        )
    return prepared_as(workspace, found.rpartition("/")[2])


def prepared_as(workspace: Workspace, version: str) -> Prepared:
    """The catalogue and histories of one version.

    Raises:
        WorkspaceError: they are not there.
    """
    dataset = workspace.description(f"catalogue/{version}")["dataset"]
    catalogue = workspace.read_table(f"catalogue/{version}", CATALOGUE)
    return Prepared(version, dataset, catalogue, f"histories/{version}")


def _write(workspace: Workspace, version: str, settings: Settings) -> None:
    source = _open(settings)
    grouped, total = _grouped(source, settings)
    counts = pa.concat_tables(
        _tables(grouped.map_batches(item_counts, batch_format="pyarrow", batch_size=None)), promote_options="none"
    )
    catalogue = build_catalogue(source.items, counts, settings.data.top_items)
    histories, described = _kept(grouped, total, catalogue, settings)
    described |= {"data_settings": version_of(settings.data)}
    with workspace.writing(f"catalogue/{version}", described) as folder:
        workspace.write_table(catalogue, f"{folder}/part-0.parquet")
    _write_splits(workspace, f"histories/{version}", histories, described)


def _write_histories(workspace: Workspace, name: str, settings: Settings, earlier: Prepared) -> None:
    grouped, total = _grouped(_open(settings), settings)
    histories, described = _kept(grouped, total, earlier.catalogue, settings)
    _write_splits(workspace, name, histories, described | {"items_of": earlier.version})


def _grouped(source: Source, settings: Settings) -> tuple[ray.data.Dataset, dict[str, int]]:
    """One history a user, of all items, in memory, and their `_totals`."""
    histories = (
        read_interactions(source, settings.data)
        .repartition(settings.data.shards, keys=["user_id"])
        .map_batches(partial(build_histories, settings=settings.data), batch_format="pyarrow", batch_size=None)
    ).materialize()
    total = _totals(histories)
    if total["rows"] == total["later"]:
        when = f" before data.until ({settings.data.until})" if total["rows"] else ""
        raise InputError(f"{settings.data.source} holds no interaction{when}: there is nothing to learn from")
    _check_splits({name: total[name] for name in SPLITS}, settings)
    return histories, total


def _kept(
    grouped: ray.data.Dataset, total: dict[str, int], catalogue: pa.Table, settings: Settings
) -> tuple[ray.data.Dataset, dict[str, Any]]:
    """The histories of the catalogue's items, in memory, and their description, which accounts for every row."""
    rows, distinct, users = total["rows"], total["distinct"], {name: total[name] for name in SPLITS}
    kept = catalogue.column("item_id").to_numpy()
    histories = grouped.map_batches(
        keep_items, fn_kwargs={"kept": kept}, batch_format="pyarrow", batch_size=None
    ).materialize()
    in_histories = _totals(histories)["distinct"]
    return histories, {
        "dataset": dataset_name(settings.data.source),
        "settings": settings.data.model_dump(mode="json"),
        "users": users,
        "items": len(catalogue),
        "items_without_year": without_year(catalogue),
        "interactions": {
            "read": rows,
            "kept": in_histories,
            "dropped: at data.until or later": total["later"],
            "dropped: repeated by the user": rows - total["later"] - distinct,
            "dropped: not among the top items": distinct - in_histories,
        },
    }


def _write_splits(workspace: Workspace, name: str, histories: ray.data.Dataset, described: dict[str, Any]) -> None:
    with workspace.writing(name, described) as folder:
        for split in SPLITS:
            of_split = histories.map_batches(_only, fn_kwargs={"split": split}, batch_format="pyarrow", batch_size=None)
            of_split.write_parquet(f"{folder}/split={split}", filesystem=workspace.filesystem)


def _only(block: pa.Table, split: str) -> pa.Table:
    return block.filter(pc.equal(block.column("split"), split))


def _totals(histories: ray.data.Dataset) -> dict[str, int]:
    """Rows read, rows that came too late, distinct (user, item) pairs, and users of each split."""

    def count(block: pa.Table) -> pa.Table:
        split = block.column("split").to_pylist()
        row = {name: split.count(name) for name in SPLITS}
        for name, column in (("rows", "interactions"), ("later", "later")):
            row[name] = pc.sum(block.column(column)).as_py() or 0 if column in block.column_names else 0
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


def _open(settings: Settings) -> Source:
    place, items = _places(settings)
    return open_source(place, settings.data, items)


def _places(settings: Settings) -> tuple[Path, Path | None]:
    items = resolve_dataset(settings.data.items, settings.cache) if settings.data.items else None
    return resolve_dataset(settings.data.source, settings.cache), items


def _fingerprints(settings: Settings) -> tuple[list[tuple[str, int, str]], list[tuple[str, int, str]] | None]:
    place, items = _places(settings)
    return _fingerprint(place), _fingerprint(items) if items else None


def _fingerprint(place: Path) -> list[tuple[str, int, str]]:
    """Name, size and hash of both ends of each file: changes with the data, and is read in no time."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    prints = []
    for path in files:
        with path.open("rb") as stream:
            ends = stream.read(1 << 20)
            stream.seek(max(path.stat().st_size - (1 << 20), 0))
            prints.append((path.name, path.stat().st_size, sha256(ends + stream.read()).hexdigest()))
    return prints


def _summary(workspace: Workspace, version: str, state: str) -> Summary:
    made = workspace.description(f"histories/{version}")
    lines: dict[str, object] = {"data set": made["dataset"], "version": f"{version} ({state})", "items": made["items"]}
    if made["items_without_year"]:
        lines["items without a year"] = made["items_without_year"]
    lines |= {f"{split} users": count for split, count in made["users"].items()}
    lines |= {f"interactions {name}": count for name, count in made["interactions"].items()}
    places = {name: f"{workspace.uri}/{name}/{version}" for name in ("catalogue", "histories")}
    return Summary("prepare", lines, places)
