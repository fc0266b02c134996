"""The command `ivl-vllm serve`: `vllm serve` for a base with values."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from ivl.checkpoint import Checkpoint
from ivl.errors import IvlError
from ivl.value import Value
from ivl.vllm import ARCHITECTURE
from ivl.vllm.open_value import OpenValue
from ivl.vllm.served_values import NO_ADAPTERS, NO_PIPELINE, Served, served_names

_ABOUT = "Serve a base with values by vLLM. Options that are not listed here go to `vllm serve`, such as --tensor-parallel-size 8."


#: Options of `vllm serve` that this command sets.
_OWN = ("--hf-overrides", "--served-model-name", "--middleware")


def main() -> int:
    """Starts the server; returns only if it cannot be started."""
    parser = argparse.ArgumentParser(prog="ivl-vllm", description=_ABOUT)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", description=_ABOUT, allow_abbrev=False)
    serve.add_argument("--base", required=True, metavar="MODEL", help="directory or hub name of the base")
    serve.add_argument(
        "--value", required=True, action="append", metavar="VALUE[:ALPHA]", help="value of the base's vocabulary; may be repeated"
    )
    serve.add_argument("--name", default="fused", help="model name of the base with all values (default: fused)")
    arguments, rest = parser.parse_known_args()
    try:
        command = command_line(arguments.base, arguments.value, arguments.name, rest)
    except IvlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(" ".join(command), file=sys.stderr, flush=True)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: cannot start `{command[0]}`: {error}; pip install 'ivl[vllm]'", file=sys.stderr)
    return 1


def command_line(base: str, values: list[str], name: str, rest: list[str]) -> list[str]:
    """The command that serves, after its values were handed to the environment.

    Raises `IvlError` for values that vLLM cannot serve on this base, options that do not work with values, or that the command sets.
    """
    own = [option for option in rest if option.split("=")[0] in _OWN]
    if own:
        raise IvlError(f"`{own[0].split('=')[0]}` is set by ivl-vllm; start `vllm serve` yourself to set it (docs/python.md)")
    _refuse(rest)
    served = _served(base, values, name, rest)
    served.to_environment()
    listed = [{"model": value.model, "alpha": value.alpha} for value in served.values]
    overrides = {"architectures": [ARCHITECTURE], "ivl": {"values": listed}}
    vllm = Path(sys.executable).with_name("vllm")
    names = [served.fused]
    if served.per_request:
        names += [served.base, *(value.name for value in served.values)]
    command = [str(vllm) if vllm.is_file() else "vllm", "serve", base, "--hf-overrides", json.dumps(overrides)]
    return [*command, "--served-model-name", *names, "--middleware", "ivl.vllm.model_ids.ModelIds", *rest]


def _refuse(rest: list[str]) -> None:
    """Refuses what the model would refuse a minute later, when it is built."""
    for option, following in zip(rest, [*rest[1:], ""]):
        name, _, own = option.partition("=")
        if name in ("--pipeline-parallel-size", "-pp") and (own or following) != "1":
            raise IvlError(NO_PIPELINE)
        if name == "--enable-lora":
            raise IvlError(NO_ADAPTERS)


def _served(base: str, values: list[str], name: str, rest: list[str]) -> Served:
    opened, found = Checkpoint.open(base), [Value.parse(text) for text in values]
    weights = [(str(value.model), OpenValue(str(value.model), value.alpha, opened).alpha) for value in found]
    speculates = any(option.split("=")[0] in ("--speculative-config", "-sc") for option in rest)
    return replace(served_names(base, weights, name), per_request=not speculates)


if __name__ == "__main__":
    sys.exit(main())
