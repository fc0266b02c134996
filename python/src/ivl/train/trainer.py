"""The training loop: evaluate, sum gradients over the micro-batches of a step, clip, step, save."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from ivl.errors import IvlError
from ivl.train.batch import Batch, make_batch
from ivl.train.checkpoints import CheckpointDirectory, RunState
from ivl.train.draws import Mixing, Perturbation, base_weight
from ivl.train.early_stopping import EarlyStopping, EvalReport
from ivl.train.exported_run import Examples, ExportedRun, Rows, Step
from ivl.train.learner import Learner, Target
from ivl.train.models import ValueNetwork, load_bases
from ivl.train.objective import TERMS
from ivl.train.processes import Processes
from ivl.train.records import Records, StepReport
from ivl.train.schedule import Schedule
from ivl.train.settings import Settings
from ivl.train.value_directory import write_value


class Interrupted(IvlError):
    """A run that was stopped by a signal; a checkpoint was written."""


class Trainer:
    """A run in progress."""

    def __init__(self, run: ExportedRun, settings: Settings, processes: Processes, *, resume: bool) -> None:
        """Loads the models, in shards, and the last checkpoint of a run that is resumed.

        Raises `IvlError` for whatever is wrong with settings, export or models.
        """
        self._run, self._settings, self._processes = run, settings, processes
        if not resume and (settings.output / "config.json").exists():
            raise IvlError(f"`{settings.output}` holds a trained model; choose another `output`, or remove it")
        with processes.in_turn():
            value = ValueNetwork(run, settings, processes.frozen_dtype)
            self._packs = value.split.packs
            self.learner = Learner(value, settings)
            # Adapters of a frozen network gather little: all else stays whole.
            processes.shard(self.learner, [value.split.network], stays=settings.adapters)
        self._bases, self._held_out = load_bases(run, settings, value, processes)
        if settings.config["data"]["batching"] == "packed" and not self._packs:
            raise IvlError(f"`{value.source.name}` cannot tell examples of a row apart in transformers; set `data.batching` to by-length")
        trained = [parameter for parameter in self.learner.parameters() if parameter.requires_grad]
        self._parameters = trained
        count = sum(parameter.numel() for parameter in trained)
        peak = settings.optimizer.peak_rate(settings.adapters, bool(settings.bases), count)
        self._schedule = Schedule(settings.optimizer, peak, run.total_steps)
        self.optimizer = _optimizer(trained, settings)
        self._mixing = Mixing(settings.mixing, settings.seed, [weight for _, weight in settings.bases])
        self._early_stopping = EarlyStopping()
        self.state = RunState()
        identity = {"configuration": settings.identity(), "tokens": run.description["fingerprints"], "order": run.description["order"]}
        self._checkpoints = CheckpointDirectory(settings.output, identity, settings.checkpoint.keep, processes)
        self._saved_at = (0, time.monotonic())
        if resume:
            self._restore()
        else:
            self._checkpoints.begin()
        self._stopped = False

    def _restore(self) -> None:
        state = self._checkpoints.find()
        if state is None:
            return
        self._checkpoints.load(state.step, self.learner, self.optimizer)
        self.state, self._saved_at = state, (state.step, time.monotonic())
        self._mixing.weights = state.mixing or self._mixing.weights
        self._early_stopping = EarlyStopping(**state.early_stopping)

    def train(self) -> None:
        """Runs all steps that are left, and writes the value.

        Raises `Interrupted` after a signal, `IvlError` for a loss that is no number.
        """
        records = Records(self._settings.output, self.state.step, self._processes.device) if self._processes.is_first else None
        previous = signal.signal(signal.SIGINT, self._stop)
        try:
            if self.state.step == 0:
                self._evaluate(records)
            self._run_steps(records)
            if self.state.step == self._run.total_steps and not any(report["step"] == self.state.step for report in self.state.evals):
                self._evaluate(records)
            self._save(records)
            if self._interrupted:
                raise Interrupted(f"stopped after {self.state.step} of {self._run.total_steps} steps; continue with --resume")
            self._finish(records)
        finally:
            signal.signal(signal.SIGINT, previous)
            if records is not None:
                records.close()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self._stopped = True

    @property
    def _interrupted(self) -> bool:
        ended = self.state.step == self._run.total_steps or self._early_stopping.should_stop(self._settings.eval)
        return not ended

    def _run_steps(self, records: Records | None) -> None:
        settings, total = self._settings, self._run.total_steps
        for step in self._run.steps(self.state.step):
            if self._processes.any(self._stopped) or self._early_stopping.should_stop(settings.eval):
                return
            report = self.take_step(step)
            self._say(report, total)
            if records is not None:
                records.step(report)
            is_best = _due(settings.eval.every, report.step, total) and self._evaluate(records)
            if (
                (is_best and settings.eval.result == "best")
                or _due(settings.checkpoint.every, report.step, total)
                or (report.step < total and self._is_late())
            ):
                self._save(records)

    def take_step(self, step: Step) -> StepReport:
        """One optimizer step.

        Raises `IvlError` for a loss or a gradient that is no number.
        """
        began = time.monotonic()
        number = self.state.step
        seen = self._mixing.bases(number)
        sums = self.gradients(step, seen)
        norm = self._clip()
        by_base = sums[:, 0] / step.tokens
        weights = torch.tensor([weight for _, weight in seen] or [1.0], dtype=torch.float64, device=sums.device)
        means = (weights[:, None] * sums / step.tokens).sum(0).tolist()
        if not (math.isfinite(norm) and math.isfinite(means[0])):
            raise IvlError(f"the loss is no number after step {number + 1}; lower `optimizer.learning_rate`")
        rate = self._schedule.rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._mixing.update(by_base.tolist())
        elapsed = max(time.monotonic() - began, 1e-9)
        report = StepReport(number + 1, means[0], means[1], means[3], norm, rate, step.tokens, step.tokens / elapsed)
        self.state.step, self.state.tokens = number + 1, self.state.tokens + step.tokens
        self.state.last, self.state.mixing = asdict(report), list(self._mixing.weights)
        return report

    def gradients(self, step: Step, seen: Sequence[tuple[int, float]]) -> Tensor:
        """Sums the gradients of a step over its micro-batches and all processes. Returns the summed terms of each base, `[bases, 4]`."""
        sums = torch.zeros(max(len(seen), 1), len(TERMS), dtype=torch.float64, device=self._processes.device)
        for index, batch in self._share(step.micro_batches, self._run.train):
            loss, terms = self.learner(batch, self._targets(seen, index, batch), step.tokens)
            # Shards hold the mean over the processes.
            (loss * self._processes.count).backward()
            sums += terms.double()
        return self._processes.sum(sums)

    def _share(self, micro_batches: Sequence[Rows], examples: Examples) -> Iterable[tuple[int, Batch]]:
        """The part of this process of some micro-batches, with their numbers; each process gets as many passes as the others."""
        count, rank = self._processes.count, self._processes.rank
        whole = len(micro_batches) % count == 0
        for index, rows in enumerate(micro_batches):
            if whole and index % count != rank:
                continue
            kept = None if whole else range(rank, len(rows), count)
            yield index, make_batch(examples, rows, kept).to(self._processes.device)

    def _targets(self, seen: Sequence[tuple[int, float]], micro_batch: int, batch: Batch) -> list[Target]:
        settings, step = self._settings, self.state.step
        weight = base_weight(settings.regularization.base_fade_in, step, self._run.total_steps)

        def target(index: int, share: float) -> Target:
            seed = settings.seed + index
            drawn = Perturbation.draw(settings.regularization, weight, seed, step, micro_batch, batch.places, batch.count)
            return Target(self._bases[index], share, drawn)

        return [target(index, share) for index, share in seen]

    def _clip(self) -> float:
        limit = self._settings.optimizer.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit if limit > 0.0 else math.inf)
        whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return float(whole)

    def _evaluate(self, records: Records | None) -> bool:
        """Computes the held-out losses. Returns whether the value is the best so far."""
        reports = self.held_out_losses()
        if not reports:
            return False
        for report in reports:
            alone = "" if report.base_loss is None else f"{report.base} alone {report.base_loss:.4f}, with the value "
            self._print(f"step {report.step:>6}  held out: {alone}{report.loss:.4f}")
            if records is not None:
                records.eval(report)
        self.state.evals = [asdict(report) for report in reports]
        best = self._early_stopping.update(self._settings.eval, reports, self.state.step, self.state.tokens)
        self.state.early_stopping = asdict(self._early_stopping)
        return best

    def held_out_losses(self) -> list[EvalReport]:
        """Losses of every base by itself and with the value, on the same tokens; without a base, of the network by itself."""
        if not len(self._run.eval):
            return []
        bases = [*self._bases, *self._held_out]
        targets = [Target(base, 1.0) for base in bases]
        sums = torch.zeros(max(len(bases), 1), len(TERMS) + 1, dtype=torch.float64, device=self._processes.device)
        self.learner.eval()
        for _, batch in self._share(self._run.eval.longest_first(self._settings.eval.batch_size), self._run.eval):
            sums += self.learner(batch, targets, None)[1]
        self.learner.train()
        tokens = int(self._run.eval.trained.sum())
        means = (self._processes.sum(sums) / max(tokens, 1)).tolist()
        if not bases:
            return [EvalReport(self.state.step, None, None, means[0][0], None, tokens)]
        return [EvalReport(self.state.step, base.name, row[-1], row[0], row[3], tokens) for base, row in zip(bases, means)]

    def _is_late(self) -> bool:
        """Whether the minutes between two checkpoints are over, by the clock of the first process."""
        minutes = self._settings.checkpoint.minutes
        late = minutes > 0 and time.monotonic() - self._saved_at[1] >= 60 * minutes
        return self._processes.any(late and self._processes.is_first)

    def _save(self, records: Records | None) -> None:
        if self.state.step in self._checkpoints.steps():
            return
        best = self._early_stopping.best
        self.state.early_stopping = asdict(self._early_stopping)
        self._checkpoints.save(self.learner, self.optimizer, self.state, None if best is None else best["step"])
        self._saved_at = (self.state.step, time.monotonic())
        if records is not None:
            records.event("checkpoint", {"step": self.state.step})

    def _finish(self, records: Records | None) -> None:
        best, state = self._early_stopping.best, self.state
        if state.step < self._run.total_steps and records is not None:
            records.event("stopped_early", {"step": state.step, "best": best})
        if best is not None and self._settings.eval.result == "best" and best["step"] < state.step:
            self._checkpoints.load(best["step"], self.learner, None)
            state = RunState(best["step"], best["tokens"], evals=best["evals"], last=state.last)
        write_value(self.learner, self._run, self._settings, state, self._processes)
        self._print(f"wrote to {self._settings.output} after {self.state.step} steps")

    def _say(self, report: StepReport, total: int) -> None:
        if _due(max(total // 20, 1), report.step, total) or report.step == total:
            self._print(
                f"step {report.step:>6}  loss {report.loss:.4f}  lr {report.learning_rate:.2e}  {report.tokens_per_second:.0f} tokens/s  "
                f"|v| {report.value_norm:.4f}  gradient {report.gradient_norm:.3f}"
            )

    def _print(self, line: str) -> None:
        if self._processes.is_first:
            print(line, flush=True)


def _due(every: int, step: int, total: int) -> bool:
    """Whether an action with a period of some steps is due after this step; actions of the last step run anyway."""
    return every > 0 and step % every == 0 and step < total


def _optimizer(parameters: Sequence[torch.nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """AdamW with decay on matrices only: norms and biases do not decay."""
    table = settings.optimizer
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": table.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=(table.beta1, table.beta2), eps=table.epsilon)
