"""The Llama shapes that `ivl bench` measures, for its rivals: a vocabulary of 32,000, random weights.

Needs torch and transformers. A model is a shape's name or a checkpoint.
"""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

VOCAB = 32000

SHAPES = {
    name: dict(zip(("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"), sizes))
    for name, sizes in {
        "24m": (384, 1024, 6, 6, 6),
        "134m": (768, 2048, 12, 12, 12),
        "1b": (2048, 5632, 22, 32, 4),
        "7b": (4096, 11008, 32, 32, 32),
    }.items()
}

TIED = {"24m"}


def config(name):
    return LlamaConfig(vocab_size=VOCAB, max_position_embeddings=16384, tie_word_embeddings=name in TIED, **SHAPES[name])


def load(name, device="cpu", dtype=torch.float32):
    """A model on a device, drawn or loaded there."""
    if name not in SHAPES:
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype).to(device)
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config(name), dtype=dtype)


def arguments(parser):
    """The options that all rivals share, read."""
    parser.add_argument("--device", default="cpu", help="cpu (two threads) or cuda")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement, after one that does not count")
    args = parser.parse_args()
    args.dtype = getattr(torch, args.dtype)
    torch.set_num_threads(2)
    return args


def wait(device):
    """Until the device has done what it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
