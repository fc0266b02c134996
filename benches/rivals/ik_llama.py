"""One measurement of ik_llama.cpp (package ik-llama-cpp-python): `python ik_llama.py FILE.gguf THREADS` prints a line of JSON."""

import json
import sys
import time

from ik_llama_cpp import IkLlama, _ctypes_api as C
from ik_llama_cpp._internals import make_batch_range, make_batch_single

path, threads = sys.argv[1], int(sys.argv[2])
llama = IkLlama(path, n_ctx=2176, n_threads=threads, verbose=False)
context = llama._context


def decoded(batch):
    if context.decode(batch):
        sys.exit("llama_decode failed")
    context.get_logits()
    C.llama_batch_free(batch)


def prefill(count):
    context.kv_cache_clear()
    began = time.perf_counter()
    decoded(make_batch_range([index * 7919 % 30000 for index in range(count)], pos_start=0, logits_last=True))
    return count / (time.perf_counter() - began)


prefill(256)
speeds = {"prefill 256": prefill(256), "prefill 2048": prefill(2048)}
prefill(64)
began = time.perf_counter()
for position in range(64, 112):
    decoded(make_batch_single(11, position))
speeds["decode"] = 48 / (time.perf_counter() - began)
print(json.dumps(speeds))
