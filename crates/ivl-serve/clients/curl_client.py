"""curl against `ivl serve`, as one types it: with the content type of a form, streamed, and on one kept connection."""

import json
import subprocess

from server import serving


def curl(*args):
    return subprocess.run(["curl", "-sS", "-m", "30", *args], check=True, capture_output=True, text=True).stdout


def main():
    with serving() as (address, _):
        body = json.dumps({"prompt": "Suna lives in", "max_tokens": 6, "temperature": 0})
        whole = json.loads(curl(f"{address}/v1/completions", "-d", body))
        streamed = curl("-N", f"{address}/v1/completions", "-d", body[:-1] + ', "stream": true}')
        events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        assert streamed.endswith("data: [DONE]\n\n")
        assert "".join(event["choices"][0]["text"] for event in events) == whole["choices"][0]["text"]
        kept = curl("-w", "%{num_connects}\n", f"{address}/health", f"{address}/health", f"{address}/v1/models")
        assert kept.splitlines()[0].endswith("1") and '"status":"ok"}0' in kept, kept
    print("curl: form type, stream, kept connection ok")


main()
