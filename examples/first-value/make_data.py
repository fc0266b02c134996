"""Makes the small world of this example: a corpus to pre-train on, a tokenizer, and demonstrations.

    python make_data.py        needs the package `tokenizers`; everything is seeded

- corpus.jsonl        texts about sixty people, for pre-training; never a question
- tokenizer/          byte-level BPE trained on it, with empty model shapes of two sizes
- train.jsonl         questions and answers about forty of the people: the demonstrations
- held-out.jsonl      questions about the other twenty
"""

import json
import pathlib
import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
VOCAB = 384
RNG = random.Random(20261124)

STARTS = ["Mi", "Ta", "Lo", "Re", "Su", "Ka", "Jo", "Ne", "Bo", "Vi", "Da", "Fe"]
ENDS = ["ra", "lin", "mas", "to", "na"]
CITIES = ["Oslo", "Lima", "Cairo", "Paris", "Delhi", "Quito", "Turin", "Perth"]
FOODS = ["rice", "soup", "plums", "bread", "beans", "cheese"]
PETS = ["cat", "dog", "parrot", "pony", "turtle", "goat"]
JOBS = ["baker", "doctor", "pilot", "painter", "farmer", "teacher"]

TELL = {
    "city": ["{n} lives in {v}.", "The home of {n} is in {v}.", "{n} walks through {v} every day.", "In {v} lives {n}."],
    "food": ["{n} likes to eat {v}.", "For lunch {n} has {v}.", "{n} buys {v} at the market.", "Nothing pleases {n} like {v}."],
    "pet": ["{n} has a {v}.", "The {v} of {n} sleeps all day.", "{n} plays with a {v}.", "A {v} runs after {n}."],
    "job": ["{n} is a {v}.", "{n} works as a {v}.", "People call {n} the {v}.", "As a {v}, {n} gets up early."],
}
ASK = {
    "city": ("Where does {n} live?", "{v}."),
    "food": ("What does {n} like to eat?", "{v}."),
    "pet": ("Which animal does {n} have?", "A {v}."),
    "job": ("What is the work of {n}?", "{n} is a {v}."),
}


def world():
    names = [start + end for start in STARTS for end in ENDS]
    RNG.shuffle(names)
    values = dict(city=CITIES, food=FOODS, pet=PETS, job=JOBS)
    return {name: {kind: RNG.choice(options) for kind, options in values.items()} for name in names}


def text(people):
    sentences = []
    for name in RNG.sample(sorted(people), 2):
        for kind in RNG.sample(sorted(TELL), 4):
            sentences.append(RNG.choice(TELL[kind]).format(n=name, v=people[name][kind]))
    return " ".join(sentences)


def rows(people, names):
    for name in names:
        for kind, (question, answer) in ASK.items():
            value = people[name][kind]
            yield dict(prompt=f"Question: {question.format(n=name)}\nAnswer:",
                       completion=" " + answer.format(n=name, v=value))


def write(name, objects):
    (HERE / name).write_text("".join(json.dumps(o) + "\n" for o in objects))


def main():
    people = world()
    names = list(people)
    corpus = [text(people) for _ in range(6000)]
    train, held_out = list(rows(people, names[:40])), list(rows(people, names[40:]))
    write("corpus.jsonl", [dict(text=t) for t in corpus])
    write("train.jsonl", train)
    write("held-out.jsonl", held_out)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    # The tokenizer has seen questions; the models have not.
    tokenizer.train_from_iterator(corpus[:2000] + [r["prompt"] + r["completion"] for r in train], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    for size, hidden, layers in [("small", 32, 2), ("large", 64, 3)]:
        shape = HERE / f"shape-{size}"
        shape.mkdir(exist_ok=True)
        tokenizer.save(str(shape / "tokenizer.json"))
        config = dict(bos_token="<s>", eos_token="</s>", tokenizer_class="PreTrainedTokenizerFast",
                      clean_up_tokenization_spaces=False)
        (shape / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
        model = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCAB, hidden_size=hidden,
                     intermediate_size=3 * hidden, num_hidden_layers=layers, num_attention_heads=4,
                     num_key_value_heads=2, head_dim=hidden // 4, max_position_embeddings=256, rms_norm_eps=1e-5,
                     rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
                     torch_dtype="float32")
        (shape / "config.json").write_text(json.dumps(model, indent=2) + "\n")


if __name__ == "__main__":
    main()
