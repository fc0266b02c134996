"""The settings of a run, from the configuration that `ivl data export` filled in, and what may be changed after it."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivl.errors import IvlError
from ivl.value_card import Connection

#: Keys and tables that change neither tokens nor their order: they may differ from those of the export.
_CHANGEABLE = (
    "output", "base_logits.dir", "optimizer", "regularization", "mixing", "checkpoint", "eval.every", "eval.batch_size", "eval.figure",
    "eval.patience", "eval.min_improvement", "eval.result", "steps.head_rows", "steps.precision", "steps.gradient_checkpointing",
)  # fmt: skip

#: Keys that a resumed run may change.
_RESUMABLE = ("output", "checkpoint", "eval", "data.cache")


@dataclass(frozen=True)
class Optimizer:
    """AdamW and its schedule: the table `[optimizer]`."""

    learning_rate: float | None
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    max_grad_norm: float
    warmup_ratio: float
    schedule: str

    def peak_rate(self, adapters: bool, has_base: bool, parameters: int) -> float:
        """The peak learning rate. Without one, 2e-3 for the adapters of a value and 1e-3 for those of a model that is trained by itself;
        for all weights `3e-3 sqrt(1e6 / parameters)` of a value and a third of it of a model, from 1e-5 to 1e-3.
        """
        if self.learning_rate is not None:
            return self.learning_rate
        if adapters:
            return 2e-3 if has_base else 1e-3
        of_a_million = 3e-3 if has_base else 1e-3
        return min(max(of_a_million * (1e6 / max(parameters, 1)) ** 0.5, 1e-5), 1e-3)


@dataclass(frozen=True)
class Regularization:
    """Penalties, and perturbations of the bases: the table `[regularization]`."""

    l1: float
    l2: float
    kl: float
    base_temperature: float
    base_noise: float
    base_dropout: float
    base_fade_in: float


@dataclass(frozen=True)
class Mixing:
    """How several bases share the training: the table `[mixing]`."""

    strategy: str
    eta: float


@dataclass(frozen=True)
class Steps:
    """How long, and how much at once: the table `[steps]`."""

    epochs: int
    max_steps: int
    batch_size: int
    accumulation: int
    head_rows: int
    precision: str
    gradient_checkpointing: bool


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints to resume from: the table `[checkpoint]`."""

    every: int
    minutes: float
    keep: int


@dataclass(frozen=True)
class Evaluations:
    """Held-out loss: the table `[eval]`."""

    every: int
    batch_size: int
    bases: list[str]
    figure: str | None
    patience: int
    min_improvement: float
    result: str


@dataclass(frozen=True)
class Settings:
    """One training run."""

    output: Path
    seed: int
    #: Names of the frozen bases, and their weights.
    bases: list[tuple[str, float]]
    mixing: Mixing
    connection: Connection
    adapters: bool
    merge: bool
    random_start: bool
    logits_dir: Path | None
    top_k: int
    optimizer: Optimizer
    steps: Steps
    regularization: Regularization
    checkpoint: Checkpoints
    eval: Evaluations
    #: All of it, as ivl writes it.
    config: dict[str, Any]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """The settings of a configuration with every default filled in.

        Raises `IvlError` for keys that this trainer does not know or cannot follow.
        """
        _refuse(config)
        value, lora = config["value"], config["value"].get("lora")
        bases = [(config["base"], 1.0)] if config.get("base") else []
        bases += [(base["model"], float(base["weight"])) for base in config.get("bases", [])]
        logits = config.get("base_logits")
        evals = {key: part for key, part in config["eval"].items() if key != "map"}
        return cls(
            output=Path(config["output"]),
            seed=config["seed"],
            bases=bases,
            mixing=_table(Mixing, config, "mixing"),
            connection=Connection(value["connection"]),
            adapters=lora is not None,
            merge=bool(lora and lora["merge"]),
            random_start=value["init"] == "random",
            logits_dir=Path(logits["dir"]) if logits else None,
            top_k=logits["top_k"] if logits else 0,
            optimizer=_table(Optimizer, config, "optimizer"),
            steps=_table(Steps, config, "steps"),
            regularization=_table(Regularization, config, "regularization"),
            checkpoint=_table(Checkpoints, config, "checkpoint"),
            eval=_table(Evaluations, {"eval": evals}, "eval"),
            config=dict(config),
        )

    def identity(self) -> dict[str, Any]:
        """What a resumed run must not change."""
        kept = copy.deepcopy(self.config)
        for key in _RESUMABLE:
            table, last = _parent(kept, key)
            table.pop(last, None)
        return kept


#: Every key of a configuration that this trainer follows, and those that the export has followed already.
_KNOWN = {
    "output", "preset", "seed", "objective", "base", "bases", "mixing", "base_logits", "value", "data", "optimizer", "steps",
    "regularization", "checkpoint", "eval",
}  # fmt: skip


def _refuse(config: Mapping[str, Any]) -> None:
    objective = config.get("objective", "cross-entropy")
    if objective != "cross-entropy":
        raise IvlError(f'`objective = "{objective}"` is for `ivl train`: python -m ivl.train fits demonstrations')
    unknown = sorted(key for key in set(config) - _KNOWN if config[key] is not None)
    if unknown:
        raise IvlError(f"`{unknown[0]}` is a key that this version of the package does not know; install the one of your `ivl`")
    if any(base.get("map") is not None for base in config.get("bases", [])):
        raise IvlError("`bases.map` is for `ivl train`: python -m ivl.train reads bases of the value's vocabulary only")
    if config["eval"].get("map") is not None and config["eval"]["bases"]:
        raise IvlError("`eval.map` is for `ivl train`: python -m ivl.train evaluates on bases of the value's vocabulary only")


def _table(kind: Any, config: Mapping[str, Any], name: str) -> Any:
    table = dict(config.get(name, {}))
    known = set(kind.__dataclass_fields__)
    unknown = sorted(set(table) - known)
    if unknown:
        raise IvlError(f"`{name}.{unknown[0]}` is a key that this version of the package does not know; install the one of your `ivl`")
    # Keys without a value are left out of JSON.
    return kind(**{key: table.get(key) for key in known})


def _parent(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The table that holds a key, and the last part of its name."""
    *path, last = key.split(".")
    table = config
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise IvlError(f"`{key}` cannot be set: `{part}` is no table")
    return table, last


def changed(config: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """A configuration with `KEY=VALUE` applied, as `--set` of `ivl` does, for keys on which the export does not depend.

    Raises `IvlError` for other keys, and for values of another type.
    """
    result = copy.deepcopy(dict(config))
    for text in sets:
        key, equals, written = text.partition("=")
        key = key.strip()
        if not equals:
            raise IvlError(f"--set is `{text}`, expected KEY=VALUE, such as optimizer.learning_rate=1e-3")
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in _CHANGEABLE):
            raise IvlError(f"--set {key}: tokens or their order depend on it; set it in `ivl data export`")
        table, last = _parent(result, key)
        try:
            new = tomllib.loads(f"x = {written}")["x"]
        except tomllib.TOMLDecodeError:
            new = written
        old = table.get(last)
        if last not in table and key not in ("optimizer.learning_rate", "eval.figure"):
            raise IvlError(f"--set {key}: there is no such key; docs/training.md lists every key")
        if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
            new = float(new)
        if old is not None and type(old) is not type(new):
            raise IvlError(f"--set {key}: `{written}` is a {type(new).__name__}, expected a {type(old).__name__}")
        table[last] = new
    return result
