"""What the commands of this package say and return when they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ivl.errors import IvlError


def exit_status(work: Callable[[], None]) -> int:
    """Does the work of a command; 0 if it was done, 1 after a message on standard error."""
    try:
        work()
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is missing: pip install 'ivl[train]'", file=sys.stderr)
        return 1
    except IvlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
