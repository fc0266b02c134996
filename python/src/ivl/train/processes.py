"""The processes of a run: one for each GPU, started by torchrun, or this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from ivl.errors import IvlError
from ivl.train.heads import decoder_layers
from ivl.train.settings import Steps


class Processes:
    """The processes that share the micro-batches of each step, with the weights in shards over them."""

    def __init__(self, device: str | None, steps: Steps) -> None:
        """Joins the other processes, if torchrun started any.

        Raises `IvlError` for a device that cannot train.
        """
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self._local_rank, self._local_count = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if kind not in ("cpu", "cuda"):
            raise IvlError(f"--device is `{kind}`, expected cpu or cuda")
        if kind == "cuda" and self._local_rank >= torch.cuda.device_count():
            raise IvlError(f"process {self._local_rank} has no GPU: this machine has {torch.cuda.device_count()}")
        self.device = torch.device(kind, self._local_rank) if kind == "cuda" else torch.device("cpu")
        self._dtype = torch.bfloat16 if steps.precision == "bf16" else torch.float32
        self._mesh: DeviceMesh | None = None
        #: bf16 needs masters in f32, which the shards keep, also if there is only one.
        self.sharded = self.count > 1 or self._dtype != torch.float32
        if kind == "cuda":
            torch.cuda.set_device(self.device)
        if self.sharded:
            backend = "nccl" if kind == "cuda" else "gloo"
            alone: dict[str, Any] = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if self.count == 1 else {}  # type: ignore[attr-defined]
            dist.init_process_group(backend, **alone)
            self._mesh = init_device_mesh(kind, (self.count,))

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all have in common."""
        return self.rank == 0

    @property
    def frozen_dtype(self) -> torch.dtype:
        """The type of weights that are not trained."""
        return self._dtype

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Runs a block in one process of a machine after the other: whole models are in memory once at a time."""
        for turn in range(self._local_count):
            if turn == self._local_rank:
                yield
            self.wait()

    def shard(self, module: nn.Module, networks: Sequence[Any], *, stays: bool) -> None:
        """Shards the layers of `networks`, and all else in `module`; `stays` keeps all else whole after the first pass."""
        if not self.sharded:
            module.to(self.device)
            return
        policy = MixedPrecisionPolicy(param_dtype=self._dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for network in networks:
            for layer in decoder_layers(network):
                fully_shard(layer, mesh=self._mesh, mp_policy=policy)
        fully_shard(module, mesh=self._mesh, mp_policy=policy, reshard_after_forward=not stays)
        for buffer in module.buffers():
            buffer.data = buffer.data.to(self.device)

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, in f64."""
        numbers = numbers.double()
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item() > 0) if self.count > 1 else flag

    def wait(self) -> None:
        """Waits for all processes."""
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        """Leaves the group."""
        if self.sharded:
            dist.destroy_process_group()
