"""The cells of the study in the order of their worth, and the length of its trainings."""

SMOL, GEMMA, QWEN, QWEN_LARGE = "smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"
# Rank, rate and dropout are ivl's defaults; nothing was tuned on a test.
STEPS = {"gsm8k": "epochs = 1\nbatch_size = 8", "records": "epochs = 1", "instructions": "epochs = 3\nbatch_size = 4"}
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
