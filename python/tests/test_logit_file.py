"""Files of base logits: put together from parts, and described as `ivl train` describes them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ivl.base_logits.parts import EXAMPLES, PartedFile
from ivl.errors import IvlError
from ivl.train.logit_file import LogitFile, LogitHeader, records

VOCAB, TOP_K = 50, 7


def test_parts_make_a_file_whose_description_says_what_was_left_out(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    counts = np.array([2] * EXAMPLES + [0, 3], np.int64)
    logprobs = torch.randn(int(counts.sum()), VOCAB, generator=generator).mul(2.0).log_softmax(-1)
    targets = torch.randint(VOCAB, (len(logprobs),), generator=generator)
    file = PartedFile(tmp_path / "base.logits", "fingerprint", VOCAB, TOP_K, counts)
    ends = np.cumsum([0, *(int(counts[file.examples(part)].sum()) for part in range(file.parts))])
    assert list(file.missing(0, 1)) == [0, 1]
    assert not file.join()
    for part, (first, end) in enumerate(itertools.pairwise(ends)):
        file.write(part, records(logprobs[first:end], targets[first:end], TOP_K))
    assert file.join()
    assert file.is_whole()
    assert not list(file.missing(0, 1))

    read = LogitFile(file.path, "fingerprint", counts)
    kept = torch.from_numpy(read._data[:, : 4 * TOP_K].copy().view("<i4")).long()
    assert (kept == targets[:, None]).any(-1).all(), "a record holds its target"
    rest = logprobs.double().exp().scatter(-1, kept, 0.0).sum(-1)
    assert read.header.mean_rest == pytest.approx(float(rest.mean()), rel=1e-6)
    logits = read.logits(read.places(list(range(len(counts)))), torch.device("cpu"))
    assert torch.equal(logits.gather(-1, kept), logprobs.gather(-1, kept))
    left = logits.double().exp().sum(-1)
    assert torch.allclose(left, torch.ones_like(left), atol=1e-6), "the rest keeps its probability"


@pytest.mark.parametrize("newer", [True, False])
def test_descriptions_of_all_versions_of_ivl_are_read(tmp_path: Path, newer: bool) -> None:
    # In the order, and with the blanks, of a file that `ivl train` writes.
    fields = {"fingerprint": "f", "vocab": 4, "top_k": 0, "tokens": 1, "mean_kl": 0.0, "largest_kl": 0.0}
    text = json.dumps(fields | ({"mean_rest": 0.25} if newer else {})).encode() + b"   "
    path = tmp_path / "base.logits"
    path.write_bytes(b"ivllogit" + len(text).to_bytes(8, "little") + text + bytes(16))
    read = LogitFile(path, "f", np.array([1]))
    assert read.header == LogitHeader("f", 4, 0, 1, 0.0, 0.0, 0.25 if newer else 0.0)
    path.write_bytes(b"ivllogit" + bytes([255] * 8))
    with pytest.raises(IvlError, match="holds no logits"):
        LogitFile(path, "f", np.array([1]))
