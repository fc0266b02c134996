"""The comparisons of studies/ with vLLM, on the random models of the tests: their exit status says whether the engines agree.

Skipped where vLLM is not installed, or IVL names no command to compare with.
"""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.skipif("IVL" not in os.environ, reason="IVL names no command to compare with")

ROOT = pathlib.Path(__file__).parents[3]

CONFIG = """
output = "{root}/value"
base = "{base}"

[value]
model = "{value}"

[data]
train = ["{rows}/rows.jsonl"]
eval = ["{rows}/held-out-rows.jsonl"]
# The whole context of the base: vLLM has to leave room for a token after it.
max_length = 40

[steps]
max_steps = 4

[base_logits]
dir = "{root}/logits"
top_k = 12
"""


def study(name, *arguments):
    command = [sys.executable, str(ROOT / "studies" / name), *map(str, arguments)]
    environment = {**os.environ, "IVL": str(pathlib.Path(os.environ["IVL"]).resolve())}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    print(done.stdout)
    return done.stdout


def test_lm_eval_finds_the_same_figures_in_vllm_and_in_ivl(models):
    pytest.importorskip("lm_eval")
    table = study("fused_lm_eval.py", f"{models['base']}={models['value']}:0.7")
    assert table.count("log-likelihoods |") == 3
    assert "20 of 20 texts equal" in table


def test_base_logits_of_vllm_are_those_of_ivl(models, tmp_path):
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.format(root=tmp_path, base=models["short"], value=models["value"], rows=ROOT / "python/tests/fixtures"))
    table = study("base_logits_engines.py", config)
    assert "--engine vllm" in table
