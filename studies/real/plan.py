"""The cells of the study in the order of their worth, and the length of its trainings."""

SMOL, GEMMA, QWEN, QWEN_LARGE = "smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"
# Rank, rate and dropout are ivl's defaults; nothing was tuned on a test. Micro-batches of two make the steps of `batch_size = 8` with which
# the first cells were trained, in less memory: a large vocabulary takes 1.2 GB for the logits of eight solutions.
STEPS = {"gsm8k": "epochs = 1\nbatch_size = 2\naccumulation = 4", "records": "epochs = 1", "instructions": "epochs = 3\nbatch_size = 4"}
# What may make a value travel; one setting each, all others are the defaults.
VARIANTS = {
    "whole-copy": "value.initial_scale=1.0",
    "dropout": "regularization.base_dropout=0.5",
    "temperature": "regularization.base_temperature=2.0",
    "one-epoch": "steps.epochs=1",
    "three-epochs": "steps.epochs=3",
    # The default seed: what a second training on another machine changes. Gates and fusion over bytes were measured with these values.
    "again": "seed=42",
}
# Weights among which the best is chosen for a base.
ALPHAS = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0]
ORDER = [
    *[
        "records/{}".format(cell)
        for cell in [
            f"alone/-/{SMOL}",
            f"value/{SMOL}/{SMOL}",
            f"alone/-/{QWEN}",
            f"value/{SMOL}/{QWEN}",
            f"tuned/-/{SMOL}",
            f"tuned/-/{QWEN}",
            f"value/{QWEN}/{QWEN}",
            f"alone/-/{QWEN_LARGE}",
            f"value/{QWEN}/{QWEN_LARGE}",
            f"few-shot/-/{QWEN}",
            f"bytes/{SMOL}/{QWEN}",
            f"proxy/{SMOL}/{QWEN}",
            f"value/{SMOL}/{QWEN_LARGE}",
            f"tuned/-/{QWEN_LARGE}",
            f"proxy/{QWEN}/{QWEN_LARGE}",
            f"few-shot/-/{SMOL}",
            f"few-shot/-/{QWEN_LARGE}",
            f"value/{QWEN}/{SMOL}",
            f"both/{SMOL}/{QWEN}",
            f"alone/-/{GEMMA}",
            f"value/{SMOL}/{GEMMA}",
            f"tuned/-/{GEMMA}",
            f"value/{GEMMA}/{GEMMA}",
            f"value/{GEMMA}/{QWEN}",
            f"gated/{QWEN}/{QWEN}",
            f"gated/{QWEN}/{QWEN_LARGE}",
            f"gated/{SMOL}/{SMOL}",
            f"gated/{SMOL}/{QWEN}",
            f"gated/{SMOL}/{QWEN_LARGE}",
        ]
    ],
    *[
        "gsm8k/{}".format(cell)
        for cell in [
            f"alone/-/{QWEN}",
            f"value/{QWEN}/{QWEN}",
            f"alone/-/{QWEN_LARGE}",
            f"value/{QWEN}/{QWEN_LARGE}",
            f"tuned/-/{QWEN}",
            f"tuned/-/{QWEN_LARGE}",
            f"proxy/{QWEN}/{QWEN_LARGE}",
            f"few-shot/-/{QWEN}",
            f"few-shot/-/{QWEN_LARGE}",
            f"alone/-/{SMOL}",
            f"value/{QWEN}/{SMOL}",
            f"value/{SMOL}/{QWEN}",
            f"gated/{QWEN}/{QWEN_LARGE}",
        ]
    ],
    *[
        "instructions/{}".format(cell)
        for cell in [
            f"alone/-/{GEMMA}",
            f"value/{GEMMA}/{GEMMA}",
            f"tuned/-/{GEMMA}",
            f"few-shot/-/{GEMMA}",
            f"value/{SMOL}/{GEMMA}",
        ]
    ],
]


def named(condition):
    """Condition, variant and seed of `value+dropout@2`; what is absent is empty."""
    rest, _, seed = condition.partition("@")
    condition, _, variant = rest.partition("+")
    if variant and variant not in VARIANTS:
        raise SystemExit(f"`{variant}` is no variant; plan.py has {', '.join(VARIANTS)}")
    return condition, variant, seed
