"""lm-evaluation-harness 0.4.13 on the task files beside this one: what it computes for every sample."""

import contextlib
import os
import pathlib
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": tempfile.mkdtemp(), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

import torch  # noqa: E402
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
TASKS = HERE / "tasks"


def samples(model, task, max_length, chat_template=None):
    """The samples of a task, in order, and its results. `chat_template` is Jinja for chats."""
    with contextlib.chdir(TASKS):
        lm = HFLM(pretrained=str(model), dtype="float32", max_length=max_length, batch_size=4, device="cpu")
        if chat_template:
            lm.tokenizer.chat_template = chat_template
        manager = TaskManager(include_path=str(TASKS), include_defaults=False)
        out = simple_evaluate(
            model=lm, tasks=[task], task_manager=manager, log_samples=True, bootstrap_iters=0 if "rolling" in task else 1000,
            apply_chat_template=bool(chat_template), fewshot_as_multiturn=bool(chat_template), random_seed=None,
        )
    return out["samples"][task], out["results"][task]


def summary(model, task, max_length, chat_template=None):
    """What ivl is compared with: likelihoods of choices or texts, or responses and what is taken from them; and results."""
    rows, results = samples(model, task, max_length, chat_template)
    by_doc = {}
    for row in rows:
        entry = by_doc.setdefault(row["doc_id"], {"context": row["arguments"][0][0]})
        kind = row["resps"][0][0]
        if isinstance(kind, str):
            entry["response"] = kind
            entry.setdefault("filtered", {})[row["filter"]] = row["filtered_resps"][0]
            entry.setdefault("scores", {})[row["filter"]] = row["exact_match"]
        elif isinstance(kind, float):
            entry["loglikelihood"] = kind
        else:
            entry["choices"] = [[float(resp[0][0]), bool(resp[0][1])] for resp in row["resps"]]
            entry["scores"] = {metric: row[metric] for metric in ("acc", "acc_norm", "acc_bytes") if metric in row}
    numbers = {key: value for key, value in results.items() if isinstance(value, float)}
    return {"samples": [by_doc[doc] for doc in sorted(by_doc)], "results": numbers}
