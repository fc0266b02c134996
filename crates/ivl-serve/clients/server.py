"""Starts `ivl serve` on the models of examples/first-value, with a chat template beside the base."""

import contextlib
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
EXAMPLE = REPOSITORY / "examples/first-value"
IVL = REPOSITORY / "target/release/ivl"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}Question: {{ m.content }}\n"
    "{% elif m.role == 'assistant' %}Answer: {{ m.content }}\n{% endif %}{% endfor %}Answer:"
)


def ivl(*args):
    """The JSON lines that a command prints."""
    done = subprocess.run([IVL, *map(str, args), "--json", "--quiet"], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def serving(*args):
    """The address of a server with the base `large` and the value `small`, and the directory of the base."""
    with tempfile.TemporaryDirectory() as directory:
        base = pathlib.Path(directory) / "large"
        shutil.copytree(EXAMPLE / "large", base)
        (base / "chat_template.jinja").write_text(TEMPLATE)
        command = [IVL, "serve", "--base", base, "--value", f"small={EXAMPLE / 'small'}:0.5", "--port", "0", "--json"]
        server = subprocess.Popen([*command, *args], stdout=subprocess.PIPE, text=True)
        try:
            yield json.loads(server.stdout.readline())["address"], base
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0, "the server ends in order"
