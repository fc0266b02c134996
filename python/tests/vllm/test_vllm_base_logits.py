"""What `python -m ivl.base_logits --engine vllm` says when vLLM cannot compute. Skipped where vLLM is not installed.

test_studies.py compares what it writes.
"""

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("vllm")

ROOT = pathlib.Path(__file__).parents[3]
RUN = ROOT / "python/tests/fixtures/train/logits-on-disk"


def write(out, *options):
    command = [sys.executable, "-m", "ivl.base_logits", str(RUN / "train.toml"), "--data", str(RUN / "export"), "--out", str(out)]
    return subprocess.run([*command, "--engine", "vllm", *options], capture_output=True, text=True, cwd=ROOT)


def test_a_base_without_kernels_is_refused_before_vllm_starts(tmp_path):
    done = write(tmp_path)
    assert done.returncode == 1
    assert "examples/first-value/large` has attention heads of width 16, and vLLM computes 32, 64" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_failure_of_vllm_is_explained(tmp_path, monkeypatch):
    # A check that finds nothing: vLLM fails by itself, for options that it does not allow.
    from ivl.base_logits import engines

    monkeypatch.setattr("ivl.vllm.kernels.check_heads", lambda checkpoint: None)
    options = {"dtype": "float32", "max_num_batched_tokens": 1, "max_num_seqs": 8}
    with pytest.raises(engines.IvlError, match="vLLM cannot compute the logits of") as caught:
        engines.VllmEngine(str(ROOT / "examples/first-value/large"), 12, 64, options)
    assert "max_num_batched_tokens (1)" in str(caught.value)
    assert "on standard output" in str(caught.value)
