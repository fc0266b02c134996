"""openai-python against `ivl serve` with models of any kind: directories, GGUF files, hub names.

    python crates/ivl-serve/clients/openai_model.py MODEL...      needs openai; IVL names the command, target/release/ivl by default

A conversation and the same as a stream, a second turn, completions with log-probabilities, as text and as tokens. Checks that all say
the same and prints a line for each model.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import openai

IVL = os.environ.get("IVL", str(pathlib.Path(__file__).resolve().parents[3] / "target/release/ivl"))
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@contextlib.contextmanager
def serving(model):
    server = subprocess.Popen([IVL, "serve", "--base", model, "--port", "0", "--json", "--quiet"], stdout=subprocess.PIPE, text=True)
    try:
        said = json.loads(server.stdout.readline())
        yield openai.OpenAI(base_url=f"{said['address']}/v1", api_key="none", max_retries=0, timeout=600), said["models"][0]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, "the server ends in order"


def chat(client, model):
    """The answer, whole and streamed, and the seconds to the first and to the last piece."""
    ask = dict(model=model, messages=QUESTION, temperature=0, max_tokens=24)
    whole = client.chat.completions.create(**ask)
    text = whole.choices[0].message.content
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    began, pieces, first = time.perf_counter(), [], None
    for chunk in client.chat.completions.create(stream=True, **ask):
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.perf_counter() - began
            pieces.append(chunk.choices[0].delta.content)
    assert "".join(pieces) == text, (pieces, text)
    turns = QUESTION + [{"role": "assistant", "content": text}, {"role": "user", "content": "And of Norway?"}]
    second = client.chat.completions.create(model=model, messages=turns, temperature=0, max_tokens=12, logprobs=True, top_logprobs=3)
    tokens = second.choices[0].logprobs.content
    assert len(tokens) == second.usage.completion_tokens and all(t.logprob == max(o.logprob for o in t.top_logprobs) for t in tokens)
    return text, first, time.perf_counter() - began


def completions(client, model):
    """A greedy continuation with log-probabilities, and the same tokens scored as a prompt."""
    prompt = "The capital of France is"
    ask = dict(model=model, temperature=0, logprobs=2)
    choice = client.completions.create(prompt=prompt, max_tokens=8, **ask).choices[0]
    written = choice.logprobs.token_logprobs
    streamed = client.completions.create(prompt=prompt, max_tokens=8, stream=True, **ask)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == choice.text
    read = client.completions.create(prompt=prompt + choice.text, max_tokens=0, echo=True, **ask).choices[0].logprobs
    assert read.tokens[-len(written):] == choice.logprobs.tokens, (read.tokens, choice.logprobs.tokens)
    worst = max(abs(a - b) for a, b in zip(written, read.token_logprobs[-len(written):]))
    assert worst < 0.05, worst
    return choice.text, worst


def main():
    for name in sys.argv[1:]:
        with serving(name) as (client, model):
            assert client.models.retrieve(model).id == model
            continued, worst = completions(client, model)
            try:
                text, first, last = chat(client, model)
                said = f"chat {text!r}, first piece after {first:.2f} s, end after {last:.2f} s"
            except openai.BadRequestError as error:
                said = f"no chat: {error.body['message'] if isinstance(error.body, dict) else error}"
            print(f"{pathlib.Path(name).name}: continues {continued!r} (read again within {worst:.1e}); {said}", flush=True)


if __name__ == "__main__":
    main()
