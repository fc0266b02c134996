"""The value and the frozen bases of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ivl.checkpoint import Checkpoint, LoadOptions
from ivl.errors import IvlError
from ivl.projection import VocabProjection
from ivl.train.batch import Batch
from ivl.train.exported_run import ExportedRun
from ivl.train.heads import SplitNetwork
from ivl.train.logit_file import LogitFile
from ivl.train.processes import Processes
from ivl.train.settings import Settings
from ivl.vocab_map import VocabMap


def on_cpu(dtype: torch.dtype) -> LoadOptions:
    """Weights in host memory, from where they are moved in shards."""
    return LoadOptions(dtype, torch.device("cpu"))


class ValueNetwork(nn.Module):
    """The network that is trained, with its adapters if it has any."""

    def __init__(self, run: ExportedRun, settings: Settings, frozen_dtype: torch.dtype) -> None:
        """Loads what the value starts from.

        Raises `IvlError` for files that cannot be read.
        """
        super().__init__()
        described = run.description["value"]
        #: The directory or hub name that it starts from.
        self.source = Checkpoint.open(described["model"])
        start = run.directory / described["start"] if described["start"] else None
        self._peft: list[Any] = []
        if settings.adapters:
            self._load_adapters(start, frozen_dtype)
        else:
            network = Checkpoint.open(start or self.source.directory).load(on_cpu(torch.float32))
            network = _merged(network) if self.source.adapted is not None and start is None else network
            network.requires_grad_(True)
            self.split = SplitNetwork(network, self.source.name)
        if settings.steps.gradient_checkpointing:
            self.split.network.gradient_checkpointing_enable({"use_reentrant": False})
            if settings.adapters:
                self.split.network.enable_input_require_grads()
        self.split.network.train()
        self.split.check()

    def _load_adapters(self, start: Path | None, frozen_dtype: torch.dtype) -> None:
        try:
            from peft import PeftModel
        except ImportError as error:
            raise IvlError("`value.lora` needs PEFT: pip install 'ivl[train]'") from error
        directory = start or self.source.directory
        under = self.source if start is not None else self.source.adapted
        assert under is not None
        network = under.load(on_cpu(frozen_dtype))
        adapted = PeftModel.from_pretrained(network, str(directory), is_trainable=True, autocast_adapter_dtype=False)
        # Not a submodule: each weight has one name.
        self._peft = [adapted]
        for name, parameter in adapted.named_parameters():
            parameter.requires_grad_("lora_" in name)
            if "lora_" in name:
                parameter.data = parameter.data.float()
        self.adapters_directory = directory
        self.split = SplitNetwork(adapted.get_base_model(), self.source.name)

    @property
    def has_adapters(self) -> bool:
        """Whether only adapters are trained."""
        return bool(self._peft)

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """The network that the adapters were put on."""
        with self._peft[0].disable_adapter():
            yield


def _merged(network: Any) -> Any:
    """A network with its adapters added to the weights."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            network.set_submodule(name, module.get_base_layer())
    return network


class Base(nn.Module):
    """A frozen base: its logits at positions of a batch are constants."""

    projection: VocabProjection

    def __init__(self, name: str, weight: float) -> None:
        super().__init__()
        self.name, self.weight = name, weight

    def logits(self, batch: Batch, split: str, positions: Tensor) -> Callable[[int, int], Tensor]:
        """A function that gives the logits in f32 of rows `start..end` of `positions`, indices into the flat batch."""
        raise NotImplementedError


class NetworkBase(Base):
    """A base in memory."""

    def __init__(self, name: str, weight: float, dtype: torch.dtype) -> None:
        super().__init__(name, weight)
        self.source = Checkpoint.open(name)
        self.split = SplitNetwork(self.source.load(on_cpu(dtype)).requires_grad_(False), name)
        self.split.check()

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states `[rows * seq, hidden]`."""
        with torch.no_grad():
            return self.split.hidden(batch.position_ids, input_ids=batch.ids)

    def logits(self, batch: Batch, split: str, positions: Tensor) -> Callable[[int, int], Tensor]:
        """See `Base.logits`."""
        hidden = self(batch)[positions]
        return _rows_of(self.split, hidden)


class SharedBase(Base):
    """The base that the adapters of the value were put on: one network serves both."""

    def __init__(self, name: str, weight: float, value: ValueNetwork) -> None:
        super().__init__(name, weight)
        # Not a submodule: its weights are the value's.
        self._value = [value]

    def logits(self, batch: Batch, split: str, positions: Tensor) -> Callable[[int, int], Tensor]:
        """See `Base.logits`."""
        value = self._value[0]
        with torch.no_grad(), value.without_adapters():
            hidden = value.split.hidden(batch.position_ids, input_ids=batch.ids)[positions]
        return _rows_of(value.split, hidden)


class CachedBase(Base):
    """A base whose logits are on disk."""

    def __init__(self, name: str, weight: float, files: dict[str, LogitFile]) -> None:
        super().__init__(name, weight)
        self._files = files

    def logits(self, batch: Batch, split: str, positions: Tensor) -> Callable[[int, int], Tensor]:
        """See `Base.logits`; `positions` are the trained ones of the batch."""
        file = self._files[split]
        places = file.places(batch.examples)
        return lambda start, end: file.logits(places[start:end], positions.device)


def _rows_of(split: SplitNetwork, hidden: Tensor) -> Callable[[int, int], Tensor]:
    def rows(start: int, end: int) -> Tensor:
        with torch.no_grad():
            return split.head(hidden[start:end])

    return rows


def load_bases(run: ExportedRun, settings: Settings, value: ValueNetwork, processes: Processes) -> tuple[list[Base], list[Base]]:
    """The bases to train against, and those that training never sees, in shards.

    Raises `IvlError` for bases that cannot be read or have another vocabulary.
    """
    bases: list[Base] = []
    for index, (name, weight) in enumerate(settings.bases):
        if settings.logits_dir is not None:
            described = run.description["base_logits"][index]["files"]
            examples = {"train": run.train, "eval": run.eval}
            files = {
                split: LogitFile(settings.logits_dir / Path(path).name, fingerprint, examples[split].trained)
                for split, (path, fingerprint) in zip(examples, described)
            }
            bases.append(CachedBase(name, weight, files))
        elif value.has_adapters and _adapts(value, name):
            bases.append(SharedBase(name, weight, value))
        else:
            bases.append(_sharded(name, weight, processes))
    held_out = [_sharded(name, 1.0, processes) for name in settings.eval.bases]
    of_value = value.source.vocab.resized(value.split.vocab_size)
    for base in [*bases, *held_out]:
        vocab = Checkpoint.open(base.name).vocab
        try:
            base.projection = VocabProjection(VocabMap.same_ids(vocab, of_value)).to(processes.device)
        except IvlError as error:
            raise IvlError(f"the base `{base.name}` has another vocabulary than the value; train with `ivl train`: {error}") from error
    return bases, held_out


def _adapts(value: ValueNetwork, name: str) -> bool:
    under = value.source if value.source.adapted is None else value.source.adapted
    return under.directory.resolve() == Checkpoint.open(name).directory.resolve()


def _sharded(name: str, weight: float, processes: Processes) -> Base:
    with processes.in_turn():
        base = NetworkBase(name, weight, processes.frozen_dtype)
        processes.shard(base, [base.split.network], stays=True)
    return base
