"""The error that this package raises for files, settings and texts that it refuses."""

from __future__ import annotations


class IvlError(ValueError):
    """A file, a setting or a text that cannot be used; the message says what was expected, and what to do."""
