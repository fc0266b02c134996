"""Logits of python -m ivl.base_logits, beside those that `ivl train` wrote of the same base (fixtures/make_training.py)."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from ivl.base_logits.__main__ import main
from ivl.train.__main__ import main as train
from ivl.train.exported_run import ExportedRun
from ivl.train.logit_file import LogitFile

ROOT = pathlib.Path(__file__).parents[2]
FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "train" / "logits-on-disk"
RUN = ExportedRun(FIXTURE / "export")
#: Of a log-probability, as in test_fusion.py.
LOGIT_TOLERANCE = 1e-4
#: Of losses and gradients, relative.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.chdir(ROOT)


def write(monkeypatch, out, *options):
    arguments = [str(FIXTURE / "train.toml"), "--data", str(FIXTURE / "export"), "--out", str(out), *options]
    monkeypatch.setattr(sys, "argv", ["ivl.base_logits", *arguments])
    return main()


def files(directory):
    (described,) = RUN.description["base_logits"]
    splits = zip((RUN.train, RUN.eval), described["files"], strict=True)
    return [LogitFile(directory / pathlib.Path(path).name, fingerprint, examples.trained) for examples, (path, fingerprint) in splits]


def assert_same_logits(directory):
    for ours, theirs in zip(files(directory), files(FIXTURE / "logits"), strict=True):
        assert (ours.header.vocab, ours.header.top_k, ours.header.tokens) == (384, 12, theirs.header.tokens)
        for name in ("mean_kl", "largest_kl", "mean_rest"):
            assert getattr(ours.header, name) == pytest.approx(getattr(theirs.header, name), rel=1e-4), name
        places = np.arange(ours.header.tokens)
        logits = [file.logits(places, torch.device("cpu")).log_softmax(-1) for file in (ours, theirs)]
        assert (logits[0] - logits[1]).abs().max() < LOGIT_TOLERANCE


def metrics(path):
    return [line for line in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()) if line["kind"] in ("step", "eval")]


def assert_same_run(output):
    for ours, theirs in zip(metrics(output), metrics(FIXTURE), strict=True):
        for key in ("step", "loss", "gradient_norm", "base_loss"):
            if key in theirs:
                assert ours[key] == pytest.approx(theirs[key], rel=TOLERANCE), (key, theirs["step"])


def test_the_logits_of_transformers_are_those_of_ivl(monkeypatch, tmp_path):
    assert write(monkeypatch, tmp_path / "logits") == 0
    assert_same_logits(tmp_path / "logits")
    settings = [f"base_logits.dir={tmp_path / 'logits'}", f"output={tmp_path / 'value'}", 'eval.result="last"']
    sets = [part for setting in settings for part in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["", str(FIXTURE / "train.toml"), "--data", str(FIXTURE / "export"), "--device", "cpu", *sets])
    assert train() == 0
    assert_same_run(tmp_path / "value")


def test_workers_share_the_parts_and_write_none_twice(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("ivl.base_logits.parts.EXAMPLES", 6)
    out = tmp_path / "logits"
    assert write(monkeypatch, out, "--worker", "0", "--workers", "2", "--batch-size", "4") == 0
    assert "waits for the parts of other workers" in capsys.readouterr().out
    (part,) = list(out.glob("*.parts/000002.records"))[:1]
    kept, damaged = part.stat().st_mtime_ns, next(iter(out.glob("*.parts/000000.records")))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    # A worker that was stopped writes what it lacks; a part that is not whole is missing.
    assert write(monkeypatch, out, "--worker", "0", "--workers", "2") == 0
    assert capsys.readouterr().out.count("wrote part") == 1
    assert part.stat().st_mtime_ns == kept
    assert write(monkeypatch, out, "--worker", "1", "--workers", "2", "--batch-size", "1") == 0
    assert "is whole" in capsys.readouterr().out
    assert_same_logits(out)
    assert not list(out.glob("*.parts"))
    assert write(monkeypatch, out) == 0
    assert "wrote part" not in capsys.readouterr().out


def test_what_cannot_be_written_is_refused(monkeypatch, tmp_path, capsys):
    assert write(monkeypatch, tmp_path, "--worker", "2", "--workers", "2") == 1
    assert "--worker counts from 0" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["", "CONFIG", "--data", str(FIXTURE.parent / "residual" / "export")])
    assert main() == 1
    assert "cannot read `CONFIG`" in capsys.readouterr().err
    residual = FIXTURE.parent / "residual"
    monkeypatch.setattr(sys, "argv", ["", str(residual / "train.toml"), "--data", str(residual / "export")])
    assert main() == 1
    assert "has no [base_logits]" in capsys.readouterr().err
    assert write(monkeypatch, tmp_path, "--engine", "vllm", "--vllm", "[]") == 1
    assert "expected a JSON object" in capsys.readouterr().err


@pytest.mark.skipif("IVL" not in os.environ, reason="IVL names no command to compare with")
def test_the_command_trains_from_them(monkeypatch, tmp_path):
    logits = tmp_path / "logits"
    assert write(monkeypatch, logits) == 0
    before = {path.name: path.read_bytes() for path in logits.iterdir()}
    settings = [f'base_logits.dir="{logits}"', f'output="{tmp_path / "value"}"', 'eval.result="last"']
    sets = [part for setting in settings for part in ("--set", setting)]
    config = str((FIXTURE / "train.toml").relative_to(ROOT))
    subprocess.run([os.environ["IVL"], "train", config, "--device", "cpu", *sets], check=True, stdout=subprocess.DEVNULL)
    assert {path.name: path.read_bytes() for path in logits.iterdir()} == before, "the command wrote logits of its own"
    assert_same_run(tmp_path / "value")
