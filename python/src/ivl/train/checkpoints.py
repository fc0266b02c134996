"""Checkpoints of a run: the state of value, optimizer and run, in shards, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from ivl.errors import IvlError
from ivl.json_file import read_object
from ivl.train.learner import Learner
from ivl.train.processes import Processes

#: Weights that are not trained are not kept.
_TRAINED_ONLY = StateDictOptions(ignore_frozen_params=True)


@dataclass
class RunState:
    """The state of a run beside weights and optimizer."""

    step: int = 0
    tokens: int = 0
    mixing: list[float] = field(default_factory=list)
    early_stopping: dict[str, Any] = field(default_factory=dict)
    evals: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] | None = None


class CheckpointDirectory:
    """The checkpoints below the output of a run."""

    def __init__(self, output: Path, identity: dict[str, Any], keep: int, processes: Processes) -> None:
        """`identity` is what a resumed run must not change."""
        self._root, self._keep, self._processes = output / "checkpoints", keep, processes
        self._identity = {name: _digest(part) for name, part in identity.items()}

    def steps(self) -> list[int]:
        """The steps of the whole checkpoints, in order."""
        found = [path.parent.name.removeprefix("step-") for path in self._root.glob("step-*/state.json")]
        return sorted(int(step) for step in found if step.isdecimal())

    def _directory(self, step: int) -> Path:
        return self._root / f"step-{step}"

    def begin(self) -> None:
        """Refuses a directory that holds checkpoints of an earlier run.

        Raises `IvlError`.
        """
        if self.steps():
            raise IvlError(f"`{self._root}` holds checkpoints of an earlier run; continue it with --resume, or choose another `output`")
        self._processes.wait()

    def save(self, learner: Learner, optimizer: torch.optim.Optimizer, state: RunState, best: int | None) -> None:
        """Saves a checkpoint of a step, and deletes older ones but `best`."""
        final = self._directory(state.step)
        partial = final.with_name(f"{final.name}.partial")
        if self._processes.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self._processes.wait()
        model, optim = get_state_dict(learner, optimizer, options=_TRAINED_ONLY)
        weights = {"model": model, "optimizer": optim}
        state_dict_saver.save(weights, checkpoint_id=str(partial / "weights"), no_dist=self._processes.count == 1)
        if self._processes.is_first:
            content = {"identity": self._identity, "state": vars(state)}
            (partial / "state.json").write_text(json.dumps(content))
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for step in self.steps()[: -self._keep]:
                if step != best:
                    shutil.rmtree(self._directory(step))
        self._processes.wait()

    def find(self) -> RunState | None:
        """The state of the last whole checkpoint; `None` if there is none.

        Raises `IvlError` if it is of a run with other settings, tokens or weights.
        """
        steps = self.steps()
        if not steps:
            return None
        path = self._directory(steps[-1]) / "state.json"
        content = read_object(path)
        differing = [name for name, digest in self._identity.items() if content["identity"].get(name) != digest]
        if differing:
            raise IvlError(f"`{path.parent}` is of a run with another {', '.join(differing)}; export and train as it did, or start anew")
        return RunState(**content["state"])

    def load(self, step: int, learner: Learner, optimizer: torch.optim.Optimizer | None) -> None:
        """Restores the weights of a checkpoint, and the optimizer."""
        given: Any = [] if optimizer is None else optimizer
        model, optim = get_state_dict(learner, given, options=_TRAINED_ONLY)
        wanted = {"model": model} if optimizer is None else {"model": model, "optimizer": optim}
        state_dict_loader.load(wanted, checkpoint_id=str(self._directory(step) / "weights"), no_dist=self._processes.count == 1)
        options = StateDictOptions(ignore_frozen_params=True, strict=False)
        set_state_dict(learner, given, model_state_dict=model, optim_state_dict=optim if optimizer else {}, options=options)


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
