"""The records of a run in progress: `metrics.jsonl` and TensorBoard event files."""

from __future__ import annotations

import json
import math
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from ivl.train.early_stopping import EvalReport


@dataclass(frozen=True)
class StepReport:
    """One optimizer step; means are over trained tokens."""

    step: int
    loss: float
    value_norm: float
    kl: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    tokens_per_second: float


class Records:
    """The open records of a run that continues after `done` steps."""

    def __init__(self, output: Path, done: int, device: torch.device) -> None:
        output.mkdir(parents=True, exist_ok=True)
        path = output / "metrics.jsonl"
        kept = _lines_until(path, done) if done else []
        path.write_text("".join(kept))
        self._metrics = path.open("a", buffering=1)
        self._tensorboard: Any = SummaryWriter(str(output / "tensorboard"), purge_step=done + 1 if done else None)
        self._device = device

    def step(self, report: StepReport) -> None:
        """Writes a step down."""
        memory: dict[str, float] = {"resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        if self._device.type == "cuda":
            memory["device_mib"] = torch.cuda.max_memory_allocated(self._device) / 2**20
        self._write("step", {**asdict(report), "memory": memory})
        shown = {f"train/{name}": number for name, number in asdict(report).items() if name not in ("step", "tokens")}
        self._scalars({**shown, **{f"memory/{name}": number for name, number in memory.items()}}, report.step)

    def eval(self, report: EvalReport) -> None:
        """Writes a held-out loss down."""
        self._write("eval", asdict(report))
        base = report.base or "model"
        numbers = {"loss": report.loss, "base_loss": report.base_loss, "kl": report.kl}
        self._scalars({f"eval/{base}/{name}": number for name, number in numbers.items() if number is not None}, report.step)

    def event(self, kind: str, content: dict[str, Any]) -> None:
        """Writes another event down."""
        self._write(kind, content)

    def _write(self, kind: str, content: dict[str, Any]) -> None:
        finite = {key: None if isinstance(part, float) and not math.isfinite(part) else part for key, part in content.items()}
        self._metrics.write(json.dumps({**finite, "kind": kind}) + "\n")

    def _scalars(self, numbers: dict[str, float], step: int) -> None:
        for name, number in numbers.items():
            self._tensorboard.add_scalar(name, number, step)

    def close(self) -> None:
        """Writes everything to the disk."""
        self._metrics.close()
        self._tensorboard.close()


def _lines_until(path: Path, done: int) -> list[str]:
    """The whole lines before the first that is torn or of a later step."""
    kept: list[str] = []
    if not path.is_file():
        return kept
    for line in path.read_text().splitlines(keepends=True):
        try:
            step = json.loads(line)["step"] if line.endswith("\n") else done + 1
        except (ValueError, KeyError, TypeError):
            break
        if step > done:
            break
        kept.append(line)
    return kept
