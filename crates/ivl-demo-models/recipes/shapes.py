"""Trains the two tokenizers of the demo models and writes the configurations of the models.

    python shapes.py WORLD OUT        needs the package `tokenizers`

WORLD is what the example `write_world` has written. OUT gets one directory per shape, without weights. The tokenizers have
seen questions; the models have not.
"""

import itertools
import json
import pathlib
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token + '\\n' }}"
    "{% else %}{{ message['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CONTEXT = 192


def texts(world):
    with open(world / "corpus.jsonl") as corpus, open(world / "train.jsonl") as train, open(world / "ships.jsonl") as other:
        for line in itertools.islice(corpus, 20_000):
            yield json.loads(line)["text"]
        for line in itertools.islice(other, 2_000):
            yield json.loads(line)["text"]
        for line in train:
            question, answer = (message["content"] for message in json.loads(line)["messages"])
            yield f"User: {question}\nAssistant: {answer}\n"


def byte_level(world, size):
    """Byte-level BPE, in the manner of GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(world), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
    return tokenizer, "<|begin_of_text|>", "<|end_of_text|>"


def sentence_pieces(world, size):
    """BPE over characters with a visible space and byte fallback, in the manner of SentencePiece."""
    tokenizer = Tokenizer(models.BPE())
    words = [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Split(Regex(r"[^▁\p{L}]"), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator(texts(world), trainer)
    state = json.loads(tokenizer.to_str())
    # Bytes are ordinary pieces, not control tokens.
    state["added_tokens"] = state["added_tokens"][:3]
    state["model"].update(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer, "<s>", "</s>"


def llama(tokenizer, bos, eos, hidden, layers, heads, feed_forward):
    return dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden, intermediate_size=feed_forward, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads // 2, head_dim=hidden // heads, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
        rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=True, attention_bias=False, mlp_bias=False,
        bos_token_id=tokenizer.token_to_id(bos), eos_token_id=tokenizer.token_to_id(eos), torch_dtype="float32")


def gpt_neox(tokenizer, bos, eos, hidden, layers, heads, feed_forward):
    return dict(
        architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden, intermediate_size=feed_forward, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=CONTEXT, layer_norm_eps=1e-5, rotary_pct=0.5, rotary_emb_base=10000, hidden_act="gelu",
        use_parallel_residual=True, attention_bias=True, tie_word_embeddings=False,
        bos_token_id=tokenizer.token_to_id(bos), eos_token_id=tokenizer.token_to_id(eos), torch_dtype="float32")


def write(shape, tokenizer, bos, eos, config):
    shape.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(shape / "tokenizer.json"))
    about = dict(bos_token=bos, eos_token=eos, tokenizer_class="PreTrainedTokenizerFast",
                 clean_up_tokenization_spaces=False, chat_template=TEMPLATE)
    (shape / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    (shape / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    world, out = map(pathlib.Path, sys.argv[1:3])
    bpe = byte_level(world, 1536)
    write(out / "small", *bpe, llama(*bpe, hidden=48, layers=2, heads=4, feed_forward=128))
    write(out / "medium", *bpe, llama(*bpe, hidden=80, layers=3, heads=4, feed_forward=224))
    write(out / "large", *bpe, llama(*bpe, hidden=128, layers=4, heads=4, feed_forward=384))
    pieces = sentence_pieces(world, 1280)
    write(out / "other", *pieces, gpt_neox(*pieces, hidden=112, layers=4, heads=4, feed_forward=448))


if __name__ == "__main__":
    main()
