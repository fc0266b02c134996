"""Runs of python -m ivl.train, beside those of `ivl train` on the same exports (fixtures/make_training.py)."""

import contextlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from ivl.train.__main__ import main
from ivl.train.exported_run import ExportedRun
from ivl.train.processes import Processes
from ivl.train.settings import Settings, changed
from ivl.train.trainer import Trainer

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "train"
ROOT = pathlib.Path(__file__).parents[2]
RUNS = sorted(path.name for path in FIXTURES.iterdir())
TOLERANCE = 1e-5
COMPARED = ("loss", "value_norm", "kl", "gradient_norm", "learning_rate", "base_loss")


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.chdir(ROOT)


def lines(path):
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["kind"] in ("step", "eval")]


def weights(directory):
    name = "adapter_model.safetensors" if (directory / "adapter_model.safetensors").exists() else "model.safetensors"
    return load_file(directory / name)


def assert_same(output, expected, tolerance=TOLERANCE):
    """Whether two runs have the same losses, gradients and weights."""
    ours, theirs = lines(output / "metrics.jsonl"), lines(expected / "metrics.jsonl")
    assert [(line["kind"], line["step"], line.get("base")) for line in ours] == [
        (line["kind"], line["step"], line.get("base")) for line in theirs
    ]
    for our, their in zip(ours, theirs):
        for key in COMPARED:
            if their.get(key) is not None:
                assert our[key] == pytest.approx(their[key], rel=tolerance, abs=tolerance), (key, their["step"])
    ours, theirs = weights(output), weights(expected)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype == torch.float32
        assert (ours[name] - tensor).abs().max() < 2 * tolerance, name


def settings_of(name, output, *sets):
    run = ExportedRun(FIXTURES / name / "export")
    config = changed(run.description["config"], [f"output={output}", 'eval.result="last"', *sets])
    return run, Settings.read(config)


def train(name, output, *sets):
    run, settings = settings_of(name, output, *sets)
    Trainer(run, settings, Processes("cpu", settings.steps), resume=False).train()
    return output


def command(name, output, *arguments, processes=1):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = start if processes > 1 else [sys.executable]
    rest = ["--data", str(FIXTURES / name / "export"), "--set", f"output={output}", "--set", 'eval.result="last"', "--device", "cpu"]
    return [*start, "-m", "ivl.train", str(FIXTURES / name / "train.toml"), *rest, *arguments]


#: Starts processes that have PyTorch already: its import takes longer than these runs.
STARTS = multiprocessing.get_context("forkserver")
STARTS.set_forkserver_preload(["ivl.train.trainer", "transformers.models.llama.modeling_llama", "peft"])


def join(rank, processes, port, arguments):
    """What one of the processes does that torchrun starts."""
    torch.set_num_threads(1)
    os.chdir(ROOT)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    sys.argv = arguments
    sys.exit(main())


def train_on(processes, name, output, *sets):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = command(name, output, *sets)[2:]
    started = [STARTS.Process(target=join, args=(rank, processes, port, arguments)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * processes


@pytest.mark.parametrize("name", RUNS)
def test_losses_gradients_and_weights_equal_ivl(name, tmp_path):
    expected, output = FIXTURES / name, train(name, tmp_path / "value")
    assert_same(output, expected)
    card = expected / "ivl.json"
    if card.exists():
        ours, theirs = json.loads((output / "ivl.json").read_text()), json.loads(card.read_text())
        assert ours.pop("train_loss") == pytest.approx(theirs.pop("train_loss"), rel=TOLERANCE)
        for our, their in zip(ours.pop("evals"), theirs.pop("evals"), strict=True):
            assert our.pop("base") == their.pop("base")
            assert our == pytest.approx(their, rel=TOLERANCE)
        assert ours == theirs
    assert json.loads((output / "config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize("name", ["penalties", "cascade-text", "lora"])
def test_the_size_of_chunks_and_checkpointing_change_nothing(name, tmp_path):
    output = train(name, tmp_path / "value", "steps.head_rows=5", "steps.gradient_checkpointing=true")
    assert_same(output, FIXTURES / name)


@pytest.mark.parametrize("name", ["penalties", "worst", "cascade", "lora", "packed"])
def test_two_processes_equal_one(name, tmp_path):
    train_on(2, name, tmp_path / "value")
    assert_same(tmp_path / "value", FIXTURES / name)


def descendants(process):
    """The processes that a process has started, and those that they have: the workers of torchrun are in sessions of their own."""
    parents = {}
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Process, name in brackets, state, parent.
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    children = [child for child, parent in parents.items() if parent == process]
    return [pid for child in children for pid in [child, *descendants(child)]]


def killed_after_a_checkpoint(start, output, environment):
    """Whether a run was killed between its first checkpoint and its end. What another run has left is removed."""
    shutil.rmtree(output, ignore_errors=True)
    running = subprocess.Popen(start, env=environment)
    wanted = output / "checkpoints" / "step-2" / "state.json"
    deadline = time.monotonic() + 600
    while not wanted.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    is_running = running.poll() is None
    if is_running:
        # The launcher first: it would end its workers in its own way.
        for process in [running.pid, *descendants(running.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        running.wait()
    return is_running and wanted.exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_as_if_it_was_not(processes, tmp_path):
    name, output = "worst", tmp_path / "value"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = command(name, output, "--set", "checkpoint.every=2", processes=processes)
    # On a busy machine a run may end before it is killed: then it starts again.
    was_killed = any(killed_after_a_checkpoint(start, output, environment) for _ in range(5))
    assert was_killed
    subprocess.run(command(name, output, "--resume", processes=processes), check=True, env=environment)
    assert_same(output, FIXTURES / name)


def test_bf16_passes_keep_masters_in_f32(tmp_path):
    train_on(1, "residual", tmp_path / "value", "--set", "steps.precision=bf16")
    ours, theirs = weights(tmp_path / "value"), weights(FIXTURES / "residual")
    for name, tensor in theirs.items():
        moved = (ours[name] - tensor).abs().max()
        assert ours[name].dtype == torch.float32
        assert 0.0 < moved < 0.02, name


def test_what_cannot_be_followed_is_refused(tmp_path, monkeypatch, capsys):
    def status(arguments):
        monkeypatch.setattr(sys, "argv", arguments)
        return main()

    def error(*arguments):
        assert status(command("residual", tmp_path / "value", *arguments)[2:]) == 1
        return capsys.readouterr().err

    assert "--set data.max_length: tokens or their order depend on it" in error("--set", "data.max_length=9")
    assert "there is no such key" in error("--set", "optimizer.learnrate=1.0")
    assert "expected a float" in error("--set", "optimizer.beta1=high")
    assert "`base_logits` is no table" in error("--set", "base_logits.dir=x")
    other = tmp_path / "other.toml"
    other.write_text("# changed\n")
    config = str(FIXTURES / "residual" / "train.toml")
    assert status([str(other) if part == config else part for part in command("residual", tmp_path / "value")[2:]]) == 1
    refusal = capsys.readouterr().err
    assert "is not the file that" in refusal
    assert "ivl data export" in refusal
    assert status(command("residual", tmp_path / "value")[2:]) == 0
    assert "holds a trained model" in error()
    (tmp_path / "value" / "config.json").unlink()
    assert "holds checkpoints of an earlier run" in error()
    assert "is of a run with another configuration" in error("--resume", "--set", "optimizer.learning_rate=0.1")


def holds(new, known):
    """Whether all that is known is in the new, by name."""
    if isinstance(known, dict):
        return all(holds(new.get(key), part) for key, part in known.items())
    return new == known


@pytest.mark.skipif("IVL" not in os.environ, reason="IVL names no command to compare with")
@pytest.mark.parametrize("name", RUNS)
def test_the_command_still_exports_what_the_fixtures_hold(name, tmp_path):
    config = str((FIXTURES / name / "train.toml").relative_to(ROOT))
    options = ["--out", str(tmp_path / "export"), "--set", f'data.cache="{tmp_path}/tokens"', "--device", "cpu"]
    subprocess.run([os.environ["IVL"], "data", "export", config, *options], check=True, stdout=subprocess.DEVNULL)
    ours, theirs = FIXTURES / name / "export", tmp_path / "export"
    for file in (path.relative_to(ours) for path in ours.rglob("*.safetensors")):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file
    known, new = (json.loads((path / "export.json").read_text()) for path in (ours, theirs))
    new["config"]["data"]["cache"] = known["config"]["data"]["cache"]
    # Later versions may have more keys.
    assert holds(new, known), (known, new)


def test_mapped_bases_are_refused():
    run = ExportedRun(FIXTURES / "average" / "export")
    config = json.loads(json.dumps(run.description["config"]))
    config["bases"][0]["map"] = "hybrid"
    with pytest.raises(ValueError, match=r"`bases\.map` is for `ivl train`"):
        Settings.read(config)
    config["bases"][0]["map"] = None
    with pytest.raises(ValueError, match="`extra` is a key that this version"):
        Settings.read({**config, "extra": 1})
    with pytest.raises(ValueError, match='`objective = "dpo"` is for `ivl train`'):
        Settings.read({**config, "objective": "dpo"})
