"""Read settings from text: a YAML file, `a.b=c` overrides, and clear errors about both.

Knows no particular setting. No YAML tag creates an object. Errors repeat no line of a file and no
value of an override, since a key may be there by mistake.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dualrec.errors import SettingsError

_LONGEST_SHOWN = 80  # characters of a wrong value


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the tree of a settings file.

    Raises:
        SettingsError: the file is missing, or no YAML mapping.
    """
    if not path.is_file():
        raise SettingsError(
            f"settings file {path} does not exist; the profiles are in jobs/configs/"
        )
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"settings file {path} is not YAML: {_problem(error)}") from None
    if not isinstance(tree, dict):
        raise SettingsError(
            f"settings file {path}: expected a mapping such as 'data: {{source: ml-100k}}'"
        )
    return tree


def lay_over(tree: dict[str, Any], override: str) -> None:
    """Put the value of one `a.b=c` into the tree.

    Raises:
        SettingsError: there is no "=", the value is no YAML, or a group on the way is a value.
    """
    key, separator, value = override.partition("=")
    if not separator:
        raise SettingsError(
            f"--set {override}: expected KEY=VALUE, such as --set sequence.epochs=20"
        )
    _set(tree, key.strip().split("."), _read_value(value, key), key)


def _read_value(value: str, name: str) -> Any:
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SettingsError(
            f"--set {name}=…: the value is not YAML; put it in quotes: KEY='\"VALUE\"'"
        ) from None


def _problem(error: Exception) -> str:
    """Return what is wrong with a file, and where, without the line itself."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)
    mark = error.problem_mark or error.context_mark
    position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{error.problem or error.context}{position}"


def _set(tree: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"--set {name}=…: '{key}' is a value, not a group of settings")
        tree = branch
    tree[keys[-1]] = value


def validation_message(
    error: ValidationError, settings: type[BaseModel], config: str | None
) -> str:
    """Return what is wrong with a tree, a line for each setting; an unknown one with the names that
    exist."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {key}: no such setting; {_siblings(settings, problem['loc'])}")
        else:
            got = "" if _may_hold_a_key(problem["loc"]) else f", got {_shown(problem['input'])}"
            lines.append(f"  {key}: {problem['msg']}{got}")
    return f"settings{f' of {config}' if config else ''}:\n" + "\n".join(lines)


def _may_hold_a_key(location: tuple[int | str, ...]) -> bool:
    """Return whether a key or salt may stand there in place of the name of its variable."""
    return not {"endpoint", "tracking"}.isdisjoint(location) or any(
        str(part).endswith("_env") for part in location
    )


def _shown(value: object) -> str:
    written = repr(value)
    return written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}…"


def _siblings(group: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location[:-1]:
        annotation = group.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        group = annotation
    return "there are " + ", ".join(group.model_fields)
