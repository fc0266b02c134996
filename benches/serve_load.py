"""Load tests of `ivl serve` over loopback: throughput, overhead, time to first token, and ten thousand rude requests.

    python benches/serve_load.py throughput --base runs/24m [--value runs/6m]
    python benches/serve_load.py latency --base runs/24m [--value runs/6m]
    python benches/serve_load.py rude [--requests 10000]

Needs only Python's standard library and target/release/ivl. Prints one JSON object. `throughput` measures one stream, `ivl
generate`, and sixteen streams in turn, so that other load on the machine affects all alike; medians of the rounds. Besides wall
clock time it reports processor time, which other load disturbs less. The overhead is computed from a long run minus a short one
on both sides, so that loading and prompts do not count.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import resource
import signal
import socket
import statistics
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
IVL = REPOSITORY / "target/release/ivl"
EXAMPLE = REPOSITORY / "examples/first-value"
PROMPT = "Suna lives in Oslo. Tara has a cat. The home of Jomas is in Lima. For lunch Rena has"


@contextlib.contextmanager
def serving(base, value, *args):
    values = ["--value", f"value={value}:0.5"] if value else []
    command = [IVL, "serve", "--base", base, "--name", "base", *values, "--port", "0", "--json", *args]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(json.loads(server.stdout.readline())["address"].rsplit(":", 1)[1]), server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, "the server ends in order"


def head(body):
    return (f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n").encode() + body


async def post(port, body):
    """Status, body, seconds to its first byte, seconds to its end."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        writer.write(head(json.dumps(body).encode()))
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        first = await reader.read(1)
        to_first = time.perf_counter() - began
        rest = await reader.read(-1)
        return status, first + rest, to_first, time.perf_counter() - began
    finally:
        writer.close()


def ask(tokens, value, stream, prompt=PROMPT):
    return {"model": "value" if value else "base", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": stream}


def read_stream(port, tokens, value):
    """Reads one stream to its end with as little work as possible, since the client's processor time is not the server's. Every prompt
    has a unique beginning, so that none continues from another's cache."""
    body = json.dumps(ask(tokens, value, True, f"{random.random():.8f} {PROMPT}")).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head(body))
        answer = bytearray()
        while piece := connection.recv(1 << 16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and b"[DONE]" in answer


def processor(pid):
    """Seconds of processor time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spent(port, pid, streams, tokens, value):
    """Seconds for `streams` streams at once: wall clock, and processor time of the server."""
    with concurrent.futures.ThreadPoolExecutor(streams) as clients:
        began, used = time.perf_counter(), processor(pid)
        list(clients.map(lambda _: read_stream(port, tokens, value), range(streams)))
        return time.perf_counter() - began, max(0.01, processor(pid) - used)


def rate(port, pid, streams, tokens, value):
    """Tokens per second of `streams` streams at once, by wall clock and by processor time."""
    clock, used = spent(port, pid, streams, tokens, value)
    return streams * tokens / clock, streams * tokens / used


def generate(base, value, tokens):
    """Wall clock seconds that `ivl generate` decodes, and processor seconds of the whole process."""
    values = ["--value", f"{value}:0.5"] if value else []
    command = [IVL, "generate", "--base", base, *values, "--prompt", f"{random.random():.8f} {PROMPT}", "--max-new-tokens", str(tokens), "--ignore-eos", "--json", "--quiet"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done["completion_tokens"] / done["tokens_per_second"], used


def writing(measure, tokens):
    """Tokens a second of a long run less a short one, so that loading and reading the prompt do not count."""
    short, long = measure(4), measure(tokens + 4)
    return tuple(tokens / max(0.005, b - a) for a, b in zip(short, long))


def throughput(args):
    rounds = []
    for _ in range(args.rounds):
        # A server of its own for each round, as `ivl generate` is: how fast a process is depends on where its memory lies.
        with serving(args.base, args.value) as (port, pid):
            rate(port, pid, 1, 8, args.value)
            one = rate(port, pid, 1, args.tokens, args.value)
            sixteen = rate(port, pid, 16, args.tokens, args.value)
            served = writing(lambda tokens: spent(port, pid, 1, tokens, args.value), args.tokens)
        alone = writing(lambda tokens: generate(args.base, args.value, tokens), args.tokens)
        rounds.append((one, sixteen, served, alone))
    result = {}
    for index, name in enumerate(["tokens per second", "tokens per processor second"]):
        median = lambda figure: round(statistics.median(figure(*(rate[index] for rate in rates)) for rates in rounds), 3)
        result[name] = {
            "one stream": median(lambda one, sixteen, served, alone: one),
            "sixteen streams": median(lambda one, sixteen, served, alone: sixteen),
            "sixteen over one": median(lambda one, sixteen, served, alone: sixteen / one),
            "writing, one stream": median(lambda one, sixteen, served, alone: served),
            "writing, ivl generate": median(lambda one, sixteen, served, alone: alone),
            "overhead of serving": median(lambda one, sixteen, served, alone: alone / served - 1),
        }
    return result


def varied(rng, tokens, value):
    """A request of its own: none begins like another, and lengths differ by up to a half."""
    return ask(rng.randrange(tokens // 2, tokens * 3 // 2), value, True, f"{rng.random():.8f} {PROMPT}"[: rng.randrange(30, 95)])


async def closed_loop(port, clients, seconds, tokens, value):
    """Requests a second of clients that ask again as soon as they are answered."""
    began, answered, rng = time.perf_counter(), 0, random.Random(5)

    async def client():
        nonlocal answered
        while time.perf_counter() - began < seconds:
            status, *_ = await post(port, varied(rng, tokens, value))
            assert status == 200
            answered += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / (time.perf_counter() - began)


async def open_loop(port, per_second, seconds, tokens, value):
    """Requests that come at random moments, whatever the answers do; seconds to the first token of each."""
    tasks, rng, began = [], random.Random(7), time.perf_counter()
    while time.perf_counter() - began < seconds:
        tasks.append(asyncio.create_task(post(port, varied(rng, tokens, value))))
        await asyncio.sleep(rng.expovariate(per_second))
    answers = await asyncio.gather(*tasks)
    assert all(status == 200 for status, *_ in answers)
    return sorted(to_first for _, _, to_first, _ in answers)


def latency(args):
    with serving(args.base, args.value) as (port, pid):
        rate(port, pid, 1, 8, args.value)
        capacity = asyncio.run(closed_loop(port, 32, args.seconds / 2, args.tokens, args.value))
        first = asyncio.run(open_loop(port, 0.9 * capacity, args.seconds, args.tokens, args.value))
    at = lambda share: round(first[min(len(first) - 1, int(share * len(first)))], 3)
    return {"capacity requests per second": round(capacity, 2), "requests": len(first),
            "seconds to first token at 0.9 of it": {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": at(1)}}


def memory(pid):
    """Resident MiB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


async def rude_requests(port, count, rng, known):
    outcome = {"answered": 0, "refused": 0, "gone": 0, "wrong": 0}
    prompts = ["Suna", "Tara has a", "The home of Jomas is in", "For lunch Rena has"]
    nonsense = [b"", b"{", b"[]", b'{"prompt":', b'{"prompt":"a","n":-1}', b'{"prompt":"a","max_tokens":1e9}', b'{"prompt":[99999]}', b"\xff\xfe", b'{"prompt":"a","model":"x"}']
    limit = asyncio.Semaphore(48)

    async def one():
        async with limit:
            kind = rng.random()
            prompt, tokens, alpha = rng.choice(prompts), rng.randrange(1, 24), rng.choice([0, 0.5, 1.5])
            body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ivl": {"values": [{"id": "value", "alpha": alpha}]}}
            if kind < 0.25:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                sent = head(json.dumps(body | {"stream": rng.random() < 0.5, "n": rng.randrange(1, 4)}).encode())
                writer.write(sent[: rng.randrange(1, len(sent) + 1)])
                await asyncio.sleep(rng.random() * 0.02)
                writer.transport.abort()
                outcome["gone"] += 1
            elif kind < 0.4:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head(rng.choice(nonsense)))
                status = int((await reader.readline()).split()[1])
                writer.close()
                outcome["refused" if status in (400, 404, 422) else "wrong"] += 1
            else:
                status, answer, *_ = await post(port, body)
                text = json.loads(answer)["choices"][0]["text"] if status == 200 else None
                expected = known.setdefault((prompt, tokens, alpha), text)
                outcome["answered" if text is not None and text == expected else "wrong"] += 1

    await asyncio.gather(*(one() for _ in range(count)))
    return outcome


def rude(args):
    rng, known, sizes = random.Random(11), {}, []
    # What the command says, for a sample; the rest must at least agree with itself.
    for prompt, tokens, alpha in [("Suna", 20, 0.5), ("Tara has a", 23, 1.5), ("For lunch Rena has", 22, 0)]:
        command = [IVL, "generate", "--base", EXAMPLE / "large", "--value", f"{EXAMPLE / 'small'}:{alpha}", "--prompt", prompt,
                   "--max-new-tokens", str(tokens), "--json", "--quiet"]
        known[prompt, tokens, alpha] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["text"]
    total = {}
    with serving(EXAMPLE / "large", EXAMPLE / "small") as (port, pid):
        for _ in range(10):
            part = asyncio.run(rude_requests(port, args.requests // 10, rng, known))
            total = {name: total.get(name, 0) + count for name, count in part.items()}
            sizes.append(round(memory(pid)))
    return {"requests": total, "resident MiB after each tenth": sizes}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "latency", "rude"])
    parser.add_argument("--base", type=pathlib.Path, default=EXAMPLE / "large")
    parser.add_argument("--value", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=10000)
    args = parser.parse_args()
    print(json.dumps({"throughput": throughput, "latency": latency, "rude": rude}[args.what](args)))


if __name__ == "__main__":
    main()
