"""What computes the logits of a base: transformers, or vLLM."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from ivl.checkpoint import Checkpoint, LoadOptions
from ivl.errors import IvlError
from ivl.train.batch import make_batch
from ivl.train.exported_run import Example, Examples
from ivl.train.heads import SplitNetwork
from ivl.train.logit_file import Records, records
from ivl.train.objective import LOGITS_AT_ONCE

#: The smallest mass of the rest that log-probabilities in f32 can tell: their sum is known to so much.
_LEAST_MASS = 2.0**-22


class Engine(Protocol):
    """A base that is ready to read."""

    def read(self, examples: Examples, indices: Sequence[int], top_k: int) -> Records:
        """The records of some examples, in order."""


class TransformersEngine:
    """A base in this process, in a batch of examples at a time."""

    def __init__(self, base: str, dtype: str, batch_size: int) -> None:
        """Loads the base.

        Raises `IvlError` for one that cannot be read.
        """
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint = Checkpoint.open(base)
        kind = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
        self._split = SplitNetwork(checkpoint.load(LoadOptions(kind, self._device)), base)
        self._split.check()
        self._batch_size = batch_size

    @torch.no_grad()
    def read(self, examples: Examples, indices: Sequence[int], top_k: int) -> Records:
        """The records of some examples, in order."""
        found: dict[int, Records] = {}
        longest_first = sorted(indices, key=lambda index: -int(examples.lengths[index]))
        for start in range(0, len(longest_first), self._batch_size):
            rows = longest_first[start : start + self._batch_size]
            batch = make_batch(examples, [[index] for index in rows]).to(self._device)
            hidden = self._split.hidden(batch.position_ids, input_ids=batch.ids)[batch.positions]
            chunk = max(LOGITS_AT_ONCE // self._split.vocab_size, 1)
            of_batch = [
                records(self._split.head(hidden[at : at + chunk]).log_softmax(-1), batch.targets[at : at + chunk], top_k)
                for at in range(0, len(hidden), chunk)
            ]
            whole = _joined(of_batch)
            ends = np.cumsum([int(examples.trained[index]) for index in rows])
            for index, first, end in zip(rows, [0, *ends[:-1]], ends):
                found[index] = Records(whole.data[first:end], whole.lost[first:end])
        return _joined([found[index] for index in indices])


class VllmEngine:
    """A base that vLLM runs, with all that it has: several GPUs, quantised weights, mixtures of experts."""

    def __init__(self, base: str, top_k: int, longest: int, options: dict[str, Any]) -> None:
        """Starts vLLM, for examples of at most `longest` tokens.

        Raises `IvlError` without it, for whole distributions, which it does not give, and for a base that it cannot run.
        """
        if top_k == 0:
            raise IvlError("`base_logits.top_k` is 0, and vLLM gives the most probable tokens only; set it, or take --engine transformers")
        try:
            from vllm import LLM
        except ImportError as error:
            raise IvlError("--engine vllm needs vLLM: pip install 'ivl[vllm]'") from error
        from ivl.vllm.kernels import check_heads

        opened = Checkpoint.open(base)
        check_heads(opened)
        self._base, self._vocab = base, len(opened.vocab)
        # vLLM leaves room for the token that it writes after an example. It is never read, so that it needs no position of the base.
        room = longest + 1
        if room > getattr(opened.config.get_text_config(), "max_position_embeddings", room):
            os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
        fixed = {"max_logprobs": top_k, "logprobs_mode": "raw_logprobs"}
        with _explained(base):
            self._llm: Any = LLM(opened.name, **{"max_model_len": room, **options, **fixed})

    def read(self, examples: Examples, indices: Sequence[int], top_k: int) -> Records:
        """The records of some examples, in order. What is lost is an upper bound: the rest of a distribution is not known."""
        from vllm import SamplingParams, TokensPrompt

        asked = [examples[index] for index in indices]
        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=top_k)
        prompts = [TokensPrompt(prompt_token_ids=example.ids.tolist()) for example in asked]
        with _explained(self._base):
            outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return _joined([self._of_example(example, output.prompt_logprobs, top_k) for example, output in zip(asked, outputs)])

    def _of_example(self, example: Example, logprobs: Any, top_k: int) -> Records:
        places = 1 + np.flatnonzero(example.loss_mask[1:])
        ids, kept = np.zeros((len(places), top_k), np.uint32), np.zeros((len(places), top_k), np.float32)
        even, lost = np.zeros((len(places), 1), np.float32), np.zeros(len(places))
        for row, place in enumerate(places):
            target = int(example.ids[place])
            by_id = {token: entry.logprob for token, entry in logprobs[place].items()}
            ordered = sorted(by_id, key=lambda token: (-by_id[token], token))
            first = [token for token in ordered if token != target][: top_k - 1]
            chosen = sorted([*first, target], key=lambda token: (-by_id[token], token))
            ids[row], kept[row] = chosen, [by_id[token] for token in chosen]
            rest = self._vocab - top_k
            mass = max(1.0 - math.fsum(math.exp(by_id[token]) for token in chosen), _LEAST_MASS)
            # No token of the rest is more probable than the least of the most probable.
            least = by_id[ordered[top_k - 1]]
            mean = min(math.log(mass / rest), least)
            even[row], lost[row] = mean, max(mass * (least - mean), 0.0)
        parts = [np.ascontiguousarray(part).view(np.uint8) for part in (ids, kept, even)]
        return Records(np.concatenate(parts, 1), lost)


@contextlib.contextmanager
def _explained(base: str) -> Iterator[None]:
    """Says what failed, and where vLLM says why: its processes write their errors to standard output."""
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        yield
    except (EngineDeadError, EngineGenerateError, RuntimeError, ValueError) as error:
        raise IvlError(
            f"vLLM cannot compute the logits of `{base}`: {error}\nIts processes log the reason on standard output, if "
            "VLLM_LOGGING_LEVEL is ERROR or lower. Change its options by --vllm, or take --engine transformers"
        ) from error


def _joined(parts: Sequence[Records]) -> Records:
    return Records(np.concatenate([part.data for part in parts]), np.concatenate([part.lost for part in parts]))
