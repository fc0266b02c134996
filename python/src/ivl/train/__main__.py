"""The command `python -m ivl.train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ivl.exit_status import exit_status


def main() -> int:
    """Trains a value; the exit status is 0 if it was written."""
    parser = argparse.ArgumentParser(
        prog="python -m ivl.train",
        description="Train a value in PyTorch, on one process or, started by torchrun, on many.",
    )
    parser.add_argument("config", type=Path, help="configuration of the run; docs/training.md lists every key")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `ivl data export` wrote from the configuration")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a key that does not change the tokens")
    parser.add_argument("--resume", action="store_true", help="continue from the last complete checkpoint")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to train (default: cuda, if there is one)")
    arguments = parser.parse_args()
    return exit_status(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> None:
    """Trains a value.

    Raises `IvlError` for an export, a setting or a checkpoint that cannot be used.
    """
    # These take seconds to import.
    from ivl.train.exported_run import ExportedRun
    from ivl.train.processes import Processes
    from ivl.train.settings import Settings, changed
    from ivl.train.trainer import Trainer

    run = ExportedRun(arguments.data)
    run.check_config(arguments.config)
    settings = Settings.read(changed(run.description["config"], arguments.set))
    processes = Processes(arguments.device, settings.steps)
    try:
        Trainer(run, settings, processes, resume=arguments.resume).train()
    finally:
        processes.leave()


if __name__ == "__main__":
    sys.exit(main())
