"""The command line that `ivl-vllm serve` starts, and what it refuses before; neither needs vLLM."""

import json
import pathlib

import pytest

from ivl.errors import IvlError
from ivl.vllm.command import command_line
from ivl.vllm.served_values import Served, ServedValue, served_names

ROOT = pathlib.Path(__file__).parents[2]
BASE = str(ROOT / "examples/first-value/large")
VALUE = str(ROOT / "examples/first-value/small")
FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "values"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    # What the command hands to its server does not outlive a test.
    monkeypatch.setenv("IVL_VLLM_SERVED", "")


def test_values_become_overrides_and_model_names():
    command = command_line(BASE, [f"{VALUE}:0.5", VALUE], "both", ["--port", "1", "--pipeline-parallel-size", "1"])
    overrides = json.loads(command[command.index("--hf-overrides") + 1])
    values = [{"model": VALUE, "alpha": 0.5}, {"model": VALUE, "alpha": 1.0}]
    assert overrides == {"architectures": ["IvlFused"], "ivl": {"values": values}}
    names = command.index("--served-model-name") + 1
    assert command[names : names + 4] == ["both", "large", "small", "small#2"]
    assert command[-4:] == ["--port", "1", "--pipeline-parallel-size", "1"]
    served = Served.from_environment()
    assert served is not None
    assert served.values == (ServedValue(VALUE, 0.5, "small"), ServedValue(VALUE, 1.0, "small#2"))
    assert served.alphas_of("small#2") == [0.0, 1.0]


@pytest.mark.parametrize(
    ("value", "rest", "message"),
    [
        (VALUE, ["--pipeline-parallel-size", "2"], "pipeline parallelism"),
        (VALUE, ["-pp=4"], "pipeline parallelism"),
        (VALUE, ["--enable-lora"], "--enable-lora"),
        (VALUE, ["--served-model-name=x"], "`--served-model-name` is set by ivl-vllm"),
        (str(FIXTURES / "cascade"), [], "is a cascade value"),
        (str(ROOT / "crates/ivl-demo-models/models/small"), [], "has another vocabulary than the base"),
        (f"{VALUE}:nan", [], "expected VALUE or VALUE:ALPHA"),
    ],
)
def test_what_does_not_work_is_refused_before_the_server_starts(value, rest, message):
    with pytest.raises(IvlError, match=message):
        command_line(BASE, [value], "fused", rest)


def test_names_are_those_of_the_directories_and_differ():
    served = served_names("models/base", [("runs/a", 1.0), ("other/a", 0.5), ("x/base", 0.1)], "fused")
    assert (served.base, served.fused) == ("base", "fused")
    assert [value.name for value in served.values] == ["a", "a#2", "base#2"]
    assert served.alphas_of("a#2") == [0.0, 0.5, 0.0]
    # A server that is started by hand has the base's directory as its name: it stands for all values.
    by_hand = served_names("base", [("runs/a", 1.0)], "base")
    assert (by_hand.alphas_of("base"), by_hand.alphas_of("base#2")) == ([1.0], [0.0])
