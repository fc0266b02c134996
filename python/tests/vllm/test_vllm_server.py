"""`ivl-vllm serve`, beside transformers. Skipped where vLLM is not installed.

The server takes a minute to start on a CPU: pytest tests/vllm.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from reference import ENVIRONMENT, IDS, TOLERANCE, fused, greedy, worst

pytest.importorskip("vllm")

PORT = 8765


def start(command, **options):
    """A server of a process group of its own, which stopping ends as a whole."""
    return subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, start_new_session=True, **options)


def ivl_vllm(base, *values):
    """The command line of `ivl-vllm serve`."""
    command = [sys.executable, "-m", "ivl.vllm.command", "serve", "--base", base]
    for value in values:
        command += ["--value", value]
    return [*command, "--port", str(PORT), "--dtype", "float32", "--max-model-len", "256", "--enforce-eager"]


@contextlib.contextmanager
def serving(command):
    """The address of the server that a command starts, when it answers."""
    server = start(command)
    address = f"http://127.0.0.1:{PORT}"
    try:
        deadline = time.monotonic() + 1200
        while True:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                time.sleep(1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ask(address, path, **body):
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_the_server_knows_each_value_by_its_name(models):
    with serving(ivl_vllm(models["base"], f"{models['value']}:0.7", f"{models['adapters']}:-0.4")) as address:
        model = fused(models, [("value", 0.7), ("adapters", -0.4)])
        for name, alpha in [("fused", None), ("base", 0.0), ("value", [0.7, 0.0]), ("adapters", [0.0, -0.4])]:
            body = {"model": name, "prompt": IDS[0], "max_tokens": 12, "temperature": 0, "return_token_ids": True}
            answer = ask(address, "/v1/completions", **body)
            assert answer["choices"][0]["token_ids"] == greedy(model, IDS[0], 12, alpha), name
        echoed = ask(address, "/v1/completions", model="fused", prompt=IDS[1], max_tokens=1, temperature=0, echo=True, logprobs=0)
        assert worst(model, IDS[1], echoed["choices"][0]["logprobs"]["token_logprobs"][1 : len(IDS[1])]) < TOLERANCE
        with pytest.raises(urllib.error.HTTPError):
            ask(address, "/v1/completions", model="base", prompt=IDS[1], max_tokens=1, echo=True, logprobs=0)
