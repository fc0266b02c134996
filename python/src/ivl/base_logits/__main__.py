"""The command `python -m ivl.base_logits`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ivl.errors import IvlError
from ivl.exit_status import exit_status

if TYPE_CHECKING:
    from ivl.base_logits.engines import Engine

_ABOUT = """Write the logits of the frozen bases of a run, for `base_logits` of `ivl train` and of python -m ivl.train. Start it on any
number of machines that share the directory, each with its own --worker; whatever was written is not computed again."""


def main() -> int:
    """Writes the parts of one worker; the exit status is 0 if they are written."""
    parser = argparse.ArgumentParser(prog="python -m ivl.base_logits", description=_ABOUT)
    parser.add_argument("config", type=Path, help="configuration of the run, with [base_logits]")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `ivl data export` wrote from the configuration")
    parser.add_argument("--out", type=Path, metavar="DIR", help="directory to write (default: `base_logits.dir` of the configuration)")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers", help="what computes them")
    parser.add_argument("--worker", type=int, default=0, metavar="I", help="number of this worker, from 0 (default: 0)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="number of all workers (default: 1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="type of the weights")
    parser.add_argument("--batch-size", type=int, default=8, help="examples in a forward pass of transformers (default: 8)")
    parser.add_argument("--vllm", default="{}", metavar="JSON", help='options of vLLM, such as \'{"tensor_parallel_size": 8}\'')
    arguments = parser.parse_args()
    return exit_status(lambda: write(arguments))


def write(arguments: argparse.Namespace) -> None:
    """Writes the parts of one worker, for every base.

    Raises `IvlError` for arguments, an export or a base that cannot be used.
    """
    from ivl.base_logits.parts import parted
    from ivl.checkpoint import Checkpoint
    from ivl.train.exported_run import ExportedRun

    if not 0 <= arguments.worker < arguments.workers or arguments.batch_size < 1:
        raise IvlError("--worker counts from 0 to below --workers, and --batch-size is at least 1")
    run = ExportedRun(arguments.data)
    run.check_config(arguments.config)
    described = run.description["base_logits"]
    if not described:
        raise IvlError(f"`{arguments.config}` has no [base_logits]: add it with `dir` and `top_k`, and export again")
    top_k = int(run.description["config"]["base_logits"]["top_k"])
    longest = max(int(examples.lengths.max(initial=1)) for examples in (run.train, run.eval))
    for logits in described:
        engine: Engine | None = None
        vocab = len(Checkpoint.open(logits["base"]).vocab)
        for examples, (named, fingerprint) in zip((run.train, run.eval), logits["files"]):
            path = Path(named) if arguments.out is None else arguments.out / Path(named).name
            file = parted(path, fingerprint, vocab, top_k, examples)
            for part in file.missing(arguments.worker, arguments.workers):
                engine = engine or _engine(arguments, logits["base"], file.header.top_k, longest)
                file.write(part, engine.read(examples, file.examples(part), file.header.top_k))
                print(f"{logits['base']}: wrote part {part + 1} of {file.parts} of `{path}`", flush=True)
            state = "is whole" if file.join() else "waits for the parts of other workers"
            print(f"{logits['base']}: `{path}` {state}", flush=True)


def _engine(arguments: argparse.Namespace, base: str, top_k: int, longest: int) -> Engine:
    from ivl.base_logits.engines import TransformersEngine, VllmEngine

    if arguments.engine == "transformers":
        return TransformersEngine(base, arguments.dtype, arguments.batch_size)
    try:
        options = json.loads(arguments.vllm)
    except ValueError as error:
        raise IvlError(f"--vllm is `{arguments.vllm}`, expected a JSON object: {error}") from error
    if not isinstance(options, dict):
        raise IvlError(f"--vllm is `{arguments.vllm}`, expected a JSON object")
    return VllmEngine(base, top_k, longest, {"dtype": arguments.dtype, **options})


if __name__ == "__main__":
    sys.exit(main())
