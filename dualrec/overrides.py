"""Reads settings as text: a YAML file, `a.b=c` laid over it, and what is wrong with them, told. Knows no setting."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dualrec.errors import SettingsError


def read_yaml(path: Path) -> dict[str, Any]:
    """The tree of a settings file.

    Raises:
        SettingsError: the file is missing, or no YAML mapping.
    """
    if not path.is_file():
        raise SettingsError(f"settings file {path} does not exist; the profiles are in jobs/configs/")
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"settings file {path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"settings file {path}: expected a mapping such as 'data: {{source: ml-100k}}'")
    return tree


def lay_over(tree: dict[str, Any], override: str) -> None:
    """Put the value of one `a.b=c` into the tree.

    Raises:
        SettingsError: there is no "=", the value is no YAML, or a group on the way is a value.
    """
    key, separator, value = override.partition("=")
    if not separator:
        raise SettingsError(f"--set {override}: expected KEY=VALUE, such as --set sequence.epochs=20")
    _set(tree, key.strip().split("."), _read_value(value, override), override)


def _read_value(value: str, override: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {override}: the value is not YAML; put it in quotes: KEY='\"VALUE\"'") from error


def _set(tree: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"--set {override}: '{key}' is a value, not a group of settings")
        tree = branch
    tree[keys[-1]] = value


def explained(error: ValidationError, settings: type[BaseModel], config: str | None) -> str:
    """What is wrong with a tree, a line for each setting, with the names that there are in place of an unknown one."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {key}: no such setting; {_siblings(settings, problem['loc'])}")
        else:
            got = "" if "endpoint" in problem["loc"] else f", got {problem['input']!r}"  # it may be a key, misplaced
            lines.append(f"  {key}: {problem['msg']}{got}")
    return f"settings{f' of {config}' if config else ''}:\n" + "\n".join(lines)


def _siblings(group: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location[:-1]:
        annotation = group.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        group = annotation
    return "there are " + ", ".join(group.model_fields)
