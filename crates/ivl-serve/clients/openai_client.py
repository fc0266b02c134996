"""openai-python against `ivl serve`: chat, streams, log-probabilities, n, seeds, stops, errors, 32 at once."""

import asyncio
import json

import openai
from server import EXAMPLE, ivl, serving

KEY = "a key of the test"
QUESTION = [{"role": "user", "content": "Where does Suna live?"}]


def chat(client):
    whole = client.chat.completions.create(model="large", messages=QUESTION, temperature=0, max_tokens=12)
    text = whole.choices[0].message.content
    assert whole.object == "chat.completion" and whole.choices[0].message.role == "assistant"
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    stream = client.chat.completions.create(
        model="large", messages=QUESTION, temperature=0, max_tokens=12, stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == text and len(pieces) > 2, (pieces, text)
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-2].choices[0].finish_reason
    assert chunks[-1].usage == whole.usage.model_copy(update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details})


def logprobs(client):
    answer = client.chat.completions.create(
        model="small", messages=QUESTION, temperature=0, max_completion_tokens=8, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.logprob == max(t.logprob for t in token.top_logprobs) and len(token.top_logprobs) == 3
        assert bytes(token.bytes).decode(errors="replace") == token.token or token.token.startswith("bytes:")


def several(client):
    ask = dict(model="small", messages=QUESTION, n=4, temperature=1.0, max_tokens=8)
    first = [c.message.content for c in client.chat.completions.create(seed=7, **ask).choices]
    again = [c.message.content for c in client.chat.completions.create(seed=7, **ask).choices]
    others = [c.message.content for c in client.chat.completions.create(seed=99, **ask).choices]
    assert first == again and len(set(first)) > 1 and first != others, (first, others)


def settings(client):
    ask = dict(model="large", messages=QUESTION, temperature=0, max_tokens=24)
    text = client.chat.completions.create(**ask).choices[0].message.content
    stop = text[6:8]
    stopped = client.chat.completions.create(stop=[stop, "never"], **ask).choices[0]
    assert stopped.message.content == text.split(stop)[0] and stopped.finish_reason == "stop"
    biased = client.chat.completions.create(logit_bias={"20": 100}, **{**ask, "max_tokens": 3})
    plain = client.completions.create(model="large", prompt=[[20, 20, 20]], echo=True, max_tokens=0)
    assert biased.choices[0].message.content == plain.choices[0].text
    penalized = client.chat.completions.create(
        logit_bias={"20": 30}, frequency_penalty=100, presence_penalty=2, **{**ask, "max_tokens": 2})
    assert penalized.choices[0].message.content != biased.choices[0].message.content[:2]
    explained = client.chat.completions.create(
        extra_body={"ivl": {"values": [{"id": "small", "alpha": 2.0}], "explain": True}}, **ask)
    changes = explained.choices[0].model_extra["ivl"]["explain"]
    assert len(changes) == explained.usage.completion_tokens and any(c["delta"] != 0 for c in changes)


def errors(client):
    def status(expected, call, **arguments):
        try:
            call(**arguments)
        except openai.APIStatusError as error:
            assert error.status_code == expected, error
            return error
        raise AssertionError(f"{arguments} was accepted")

    create = client.chat.completions.create
    assert status(404, create, model="nothing", messages=QUESTION).code == "model_not_found"
    assert status(400, create, model="large", messages=QUESTION, temperature=-1).param == "temperature"
    assert status(400, create, model="large", messages=[]).param == "messages"
    assert status(400, create, model="large", messages=QUESTION, n=10**6).param == "n"
    assert status(400, create, model="large", messages=QUESTION, tools=[{"type": "function"}]).param == "tools"
    long = [{"role": "user", "content": "Suna " * 1000}]
    assert status(400, create, model="large", messages=long).code == "context_length_exceeded"
    wrong = client.with_options(api_key="wrong")
    assert status(401, wrong.chat.completions.create, model="large", messages=QUESTION).code == "invalid_api_key"
    assert [model.id for model in client.models.list()] == ["large", "small"]
    assert client.models.retrieve("small").id == "small"


def forms(client):
    """A schema is followed, and a stream says the same."""
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Lima"]}}, "required": ["city"], "additionalProperties": False}
    ask = dict(model="large", messages=QUESTION, temperature=0, max_tokens=100, response_format={
        "type": "json_schema", "json_schema": {"name": "home", "schema": schema}})
    text = client.chat.completions.create(**ask).choices[0].message.content
    assert json.loads(text)["city"] in ("Oslo", "Lima"), text
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(stream=True, **ask)]
    assert "".join(pieces) == text
    choice = client.completions.create(model="large", prompt="Suna", max_tokens=9, extra_body={"guided_choice": ["yes", "no"]})
    assert choice.choices[0].text in ("yes", "no")


async def at_once(address, base):
    """Thirty-two requests of different lengths, values and alphas: each is what the command says alone."""
    client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    names = ["Suna", "Tara", "Mira lives in", "The home of Jomas", "For lunch Rena has", "In Oslo lives", "Lolin", "Kato"]
    asks = [(f"{name}", alpha, 4 + 5 * i % 17) for i, name in enumerate(names) for alpha in (0, 0.5, 1.0, -0.5)]

    async def one(prompt, alpha, count):
        values = [{"id": "small", "alpha": alpha}] if alpha else []
        stream = await client.completions.create(
            model="large", prompt=prompt, temperature=0, max_tokens=count, stream=True, extra_body={"ivl": {"values": values}})
        return "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])

    texts = await asyncio.gather(*(one(*ask) for ask in asks))
    for (prompt, alpha, count), text in list(zip(asks, texts))[::3]:
        value = ["--value", f"{EXAMPLE / 'small'}:{alpha}"] if alpha else []
        alone = ivl("generate", "--base", base, *value, "--prompt", prompt, "--max-new-tokens", count)[0]["text"]
        assert text == alone, (prompt, alpha, text, alone)


def main():
    with serving("--api-key", KEY) as (address, base):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
        for check in (chat, logprobs, several, settings, forms, errors):
            check(client)
            print(f"openai-python: {check.__name__} ok")
        asyncio.run(at_once(address, base))
        print("openai-python: 32 at once ok")


main()
