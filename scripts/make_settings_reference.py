"""Write docs/settings.md from the settings tree: every setting, what it may be, its default, and
its comment.

python scripts/make_settings_reference.py
"""

import argparse
import ast
import inspect
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dualrec.config.group import Group
from dualrec.config.settings import Settings

PAGE = Path(__file__).parents[1] / "docs/settings.md"
OPENING = """# Settings

For all users: every setting, as `make docs` writes them from `dualrec/config/`. A profile is a YAML file with
any of these (`--config FILE`); `--set a.b=c` overrides it, the value read as YAML. An unknown key is an error.
"""
WORDS = {
    "boolean": "true, false",
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "null": "null",
}


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([OPENING, *_group("", Settings)])


def _group(path: str, group: type[Group]) -> Iterator[str]:
    """The section of a group, then those of the groups in it."""
    said, schema = _comments(group), group.model_json_schema()
    below = {name: kind for name, field in group.model_fields.items() if (kind := _group_of(field))}
    if path:
        yield f"## `{path}`\n\n{_cell(inspect.getdoc(group) or '')}\n"
    if len(below) < len(group.model_fields):
        yield "| setting | may be | default | |\n| --- | --- | --- | --- |"
        for name, field in group.model_fields.items():
            if name not in below:
                allowed = _allowed(schema["properties"][name], schema.get("$defs", {}))
                yield f"| `{path}{'.' * bool(path)}{name}` | {allowed} | {_default(field)} | {_cell(_in_yaml(said.get(name, '')))} |"
        yield ""
    for name, kind in below.items():
        yield from _group(f"{path}{'.' * bool(path)}{name}", kind)


def _group_of(field: FieldInfo) -> type[Group] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Group) else None


def _comments(group: type[Group]) -> dict[str, str]:
    """The comment of each setting: on the lines above it, at the end of its lines, or both.
    Inherited ones too."""
    if group is Group:
        return {}
    source = textwrap.dedent(inspect.getsource(group))
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    said = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    alone = {line for line in said if lines[line - 1].lstrip().startswith("#")}
    found = {
        name: text
        for base in group.__bases__
        if issubclass(base, Group)
        for name, text in _comments(base).items()
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            of_node = range(first, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join(said[line] for line in of_node if line in said)
    return found


def _allowed(schema: dict[str, Any], groups: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return f"a mapping of {', '.join(groups[schema['$ref'].rpartition('/')[2]]['properties'])}"
    if "anyOf" in schema:
        return ", or ".join(_allowed(one, groups) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        each = schema.get("items") or {"anyOf": schema["prefixItems"][:1]}
        return f"a list, each {_allowed(each, groups)}"
    if schema.get("type") == "object":
        return "a mapping"
    limits = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    told = [f"{word} {schema[key]:g}" for key, word in limits.items() if key in schema]
    kind = "date" if schema.get("format") == "date" else WORDS[schema["type"]]
    return " ".join([kind, *told])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "none: must be set"
    if get_origin(field.annotation) is tuple and any(isinstance(one, Group) for one in value):
        value = [one.model_dump(mode="json", exclude_defaults=True) for one in value]
    return f"`{json.dumps(value)}`"


def _in_yaml(comment: str) -> str:
    """As a profile has it, where Python says None, True or False."""
    for python, yaml in (("None", "null"), ("True", "true"), ("False", "false")):
        comment = re.sub(rf"\b{python}\b", yaml, comment)
    return comment


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
