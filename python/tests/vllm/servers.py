"""Servers for the tests: vLLM with the plugin, and `ivl serve`."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from reference import ENVIRONMENT

#: What every server of vLLM is started with.
OPTIONS = ["--dtype", "float32", "--max-model-len", "256", "--enforce-eager"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(command, **options):
    """A server of a process group of its own, which stopping ends as a whole."""
    return subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, start_new_session=True, **options)


def ivl_vllm(base, *values):
    """The command line of `ivl-vllm serve`, without a port."""
    command = [sys.executable, "-m", "ivl.vllm.command", "serve", "--base", base]
    for value in values:
        command += ["--value", value]
    return [*command, *OPTIONS]


def vllm_serve(base, *values):
    """The command line of `vllm serve` that docs/python.md has, without a port."""
    overrides = {"architectures": ["IvlFused"], "ivl": {"values": [{"model": model, "alpha": alpha} for model, alpha in values]}}
    vllm = pathlib.Path(sys.executable).with_name("vllm")
    return [str(vllm), "serve", base, "--hf-overrides", json.dumps(overrides), *OPTIONS]


@contextlib.contextmanager
def serving(command):
    """The address of the server of vLLM that a command starts, when it answers."""
    port = free_port()
    server = start([*command, "--port", str(port)])
    address = f"http://127.0.0.1:{port}"
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


@contextlib.contextmanager
def ivl_serve(base, *values):
    """The address of `ivl serve`, the command that IVL names."""
    command = [os.environ["IVL"], "serve", "--base", base, "--port", "0", "--json", "--quiet", "--device", "cpu", "--dtype", "f32"]
    for value in values:
        command += ["--value", value]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(server.stdout.readline())["address"]
    finally:
        server.terminate()
        server.wait()


def ask(address, path, **body):
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())
