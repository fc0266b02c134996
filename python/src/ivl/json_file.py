"""Small JSON files, bounded before they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ivl.errors import IvlError

#: Largest JSON file that is read, in bytes: tokenizers of 250,000 tokens take 35 MB.
LARGEST_JSON = 256 << 20


def read_bounded(path: Path) -> bytes:
    """The bytes of a small file.

    Raises `IvlError` for one that cannot be read or is larger than `LARGEST_JSON`.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_JSON:
            raise IvlError(f"`{path}` has {size} bytes, expected at most {LARGEST_JSON}")
        return path.read_bytes()
    except OSError as error:
        raise IvlError(f"cannot read `{path}`: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises `IvlError` for a file that cannot be read or holds something else.
    """
    try:
        parsed = json.loads(read_bounded(path))
    except ValueError as error:
        if isinstance(error, IvlError):
            raise
        raise IvlError(f"`{path}` is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise IvlError(f"`{path}` holds {type(parsed).__name__}, expected a JSON object")
    return parsed


def read_object_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one if there is no file.

    Raises `IvlError` as `read_object`.
    """
    return read_object(path) if path.is_file() else {}
