"""What lm-evaluation-harness says of responses to IFEval's instructions, with the language detector seeded with 0.

    pip install "lm-eval[ifeval]==0.4.13" && python -m nltk.downloader punkt_tab
    python make_ifeval.py                                      writes tests/fixtures/ifeval.jsonl from texts of our own
    python make_ifeval.py ROWS.jsonl TEXTS.txt OUT.jsonl N     N responses to each row, cut from the lines of a text

Instructions in the second form are those of the rows: IFEval's input_data.jsonl.
"""

import json
import pathlib
import random
import re
import sys
import types

import langdetect

langdetect.DetectorFactory.seed = 0

# The package of the task asks for a download when it is imported; what is there will do.
import nltk  # noqa: E402

nltk.download = lambda *_, **__: True
from lm_eval.tasks.ifeval import utils  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SENTENCES = [
    "Dr. Smith went to Washington on Jan. 5 and met J. Bach.", "It cost $3.50, i.e. more than 1,000 plums!", "Why not?",
    "She said: \"I will not go.\" He agreed.", "The U.S. is large... Very large.", "We can't, won't and cannot stop (ever).",
    "NASA and the EU signed No. 7 of the A.B. treaty at 5 p.m. on Monday.", "Mr. and Mrs. Jones et al. left.", "'Tis the season!!! Yes.",
    "In 1998 e.g. Oslo, Lima and Cairo grew.", "She's here; they're there. I'D GO.", "Visit example.com. Then call No. 3.",
    "Well-known SO-CALLED experts disagree.", "“Quoted,” he wrote. ‘Twice.’ Done.", "The end", "1. First. 2. Second.", "Cats sleep all day.",
    "A friend of mine likes bread with cheese.", "A. Einstein wrote it.", "St. Louis is in Mo. near the river.",
]
LANGUAGES = {
    "de": "Die Katze sitzt auf der Matte und schaut den Hund an. Es regnet seit gestern.",
    "fr": "Le chat est assis sur le tapis et regarde le chien. Il pleut depuis hier.",
    "es": "El gato está sentado en la alfombra y mira al perro. Llueve desde ayer.",
    "it": "Il gatto è seduto sul tappeto e guarda il cane. Piove da ieri.",
    "pt": "O gato está sentado no tapete e olha para o cão. Chove desde ontem.",
    "fi": "Kissa istuu matolla ja katselee koiraa. On satanut eilisestä lähtien.",
    "sw": "Paka ameketi juu ya mkeka na anamtazama mbwa. Mvua inanyesha tangu jana.",
    "vi": "Con mèo ngồi trên tấm thảm và nhìn con chó. Trời mưa từ hôm qua.",
    "ru": "Кошка сидит на коврике и смотрит на собаку. Со вчерашнего дня идёт дождь.",
    "bg": "Котката седи на килима и гледа кучето. От вчера вали дъжд.",
    "hi": "बिल्ली चटाई पर बैठी है और कुत्ते को देख रही है। कल से बारिश हो रही है।",
    "mr": "मांजर चटईवर बसली आहे आणि कुत्र्याकडे पाहत आहे. कालपासून पाऊस पडत आहे.",
    "ne": "बिरालो चटाईमा बसेको छ र कुकुरलाई हेरिरहेको छ। हिजोदेखि पानी परिरहेको छ।",
    "ko": "고양이가 매트 위에 앉아 개를 보고 있습니다. 어제부터 비가 옵니다.", "ar": "القطة جالسة على السجادة وتنظر إلى الكلب.",
    "ur": "بلی چٹائی پر بیٹھی ہے اور کتے کو دیکھ رہی ہے۔", "th": "แมวนั่งอยู่บนเสื่อและมองดูสุนัข ฝนตกตั้งแต่เมื่อวาน",
    "ta": "பூனை பாயில் அமர்ந்து நாயைப் பார்க்கிறது.", "en": "The cat sits on the mat and looks at the dog. It has rained since yesterday.",
}
RELATIONS = ["less than", "at least"]


def instruction(kind, draw):
    """What an instruction of a kind is about."""
    number = draw.randint
    return {
        "keywords:existence": lambda: {"keywords": draw.sample(["cat", "oslo", "U.S.", "plums", "[a-c]at", "season"], 2)},
        "keywords:frequency": lambda: {"keyword": draw.choice(["the", "not", "cat"]), "frequency": number(1, 3), "relation": draw.choice(RELATIONS)},
        "keywords:forbidden_words": lambda: {"forbidden_words": draw.sample(["cat", "he", "on", "कल", "rain"], 2)},
        "keywords:letter_frequency": lambda: {"letter": draw.choice("aetoZ"), "let_frequency": number(2, 20), "let_relation": draw.choice(RELATIONS)},
        "language:response_language": lambda: {"language": draw.choice(sorted(LANGUAGES))},
        "length_constraints:number_sentences": lambda: {"num_sentences": number(1, 8), "relation": draw.choice(RELATIONS)},
        "length_constraints:number_paragraphs": lambda: {"num_paragraphs": number(1, 4)},
        "length_constraints:number_words": lambda: {"num_words": number(5, 50), "relation": draw.choice(RELATIONS)},
        "length_constraints:nth_paragraph_first_word": lambda: {
            "num_paragraphs": 3, "nth_paragraph": number(1, 3), "first_word": draw.choice(["She", "why", "the", "dr"])},
        "detectable_content:number_placeholders": lambda: {"num_placeholders": number(1, 3)},
        "detectable_content:postscript": lambda: {"postscript_marker": draw.choice(["P.S.", "P.P.S", "N.B."])},
        "detectable_format:number_bullet_lists": lambda: {"num_bullets": number(1, 3)},
        "detectable_format:number_highlighted_sections": lambda: {"num_highlights": number(1, 3)},
        "detectable_format:multiple_sections": lambda: {"section_spliter": draw.choice(["Section", "SECTION", "Day "]), "num_sections": number(1, 3)},
        "combination:repeat_prompt": lambda: {"prompt_to_repeat": " Write about cats. "},
        "startend:end_checker": lambda: {"end_phrase": draw.choice(["The end", "Is there anything else?", "day."])},
        "change_case:capital_word_frequency": lambda: {"capital_frequency": number(1, 4), "capital_relation": draw.choice(RELATIONS)},
    }.get(kind, dict)()


def shape(lines, draw):
    """A response of the shapes that instructions ask for."""
    some = draw.sample(lines, min(len(lines), draw.randint(1, 7)))
    text = draw.choice([" ", "\n", "\n\n", "  ", "\n\n\n", " *** ", "\n***\n", "\t"]).join(some)
    return draw.choice([
        lambda: text, lambda: text, lambda: text.upper(), lambda: text.lower(), lambda: text.replace(",", ""), lambda: f'"{text}"',
        lambda: "".join(draw.choice(["* ", "- ", " - ", "** ", ""]) + line + "\n" for line in some),
        lambda: f"<<{some[0]}>>\n{text}", lambda: "<< >>\n" + text, lambda: f"{text}\n\n{draw.choice(['P.S.', 'P. P.S.', 'p.p.s', 'N.B.'])} {some[0]}",
        lambda: f"{some[0]}******{text}", lambda: f"{text}\n******\n{text}", lambda: f"******{text}******{some[0]}******",
        lambda: "".join(f"{draw.choice(['Section', 'SECTION', 'Day '])} {i}\n{line}\n" for i, line in enumerate(some, 1)),
        lambda: "```json\n" + json.dumps({"a": some}, ensure_ascii=False) + "\n```", lambda: '{"a": NaN, "b": [1,]}', lambda: '[1e999, -Infinity]',
        lambda: f"My answer is {draw.choice(['yes', 'no', 'maybe'])}.\n{text}", lambda: f"Write about cats. {text}", lambda: f"Sure!\n{text}\nThe end",
        lambda: re.sub(r"(\w+)", lambda m: draw.choice(["*{}*", "**{}**", "{}", "{}", "[{}]", "***"]).format(m[1]), text), lambda: " \n", lambda: "",
        lambda: draw.choice(sorted(LANGUAGES.values())) + "\n" + draw.choice(["", text[:40]]), lambda: draw.choice(sorted(LANGUAGES.values())),
        lambda: draw.choice(sorted(LANGUAGES.values())) + " " + draw.choice(sorted(LANGUAGES.values())),
    ])()


def aimed(kind, about, lines, draw):
    """A response that may well follow an instruction of a kind."""
    some = draw.sample(lines, draw.randint(2, 5))
    text, off = " ".join(some), draw.choice([0, 0, 0, 1])
    english = LANGUAGES["en"]
    return {
        "change_case:english_capital": lambda: draw.choice([english, text]).upper(),
        "change_case:english_lowercase": lambda: draw.choice([english, text]).lower(),
        "combination:repeat_prompt": lambda: draw.choice(["Write about cats. ", "WRITE about cats.", " write about cats"]) + text,
        "combination:two_responses": lambda: f"{text}\n******\n{draw.choice([some[0], text])}{draw.choice(['', '******'])}",
        "detectable_content:number_placeholders": lambda: text + " [name] [a\nb] [x]"[:draw.randint(7, 18)],
        "detectable_content:postscript": lambda: f"{text}\n{about['postscript_marker']} {some[0]}",
        "detectable_format:constrained_response": lambda: f"{draw.choice(['', text])} My answer is {draw.choice(['yes', 'no.', 'maybe.'])}.",
        "detectable_format:json_format": lambda: draw.choice(["```json\n%s\n```", "%s", "```%s```", "x%s"]) % json.dumps(some),
        "detectable_format:multiple_sections": lambda: "".join(
            f"{about['section_spliter']}{i}: {line}\n" for i, line in enumerate(some[: about["num_sections"] + 1 - off], 1)),
        "detectable_format:number_bullet_lists": lambda: f"{some[0]}\n" + "".join(
            draw.choice(["* {}\n", "- {}\n", "  -{}\n"]).format(line) for line in (some * 2)[: about["num_bullets"] + off]),
        "detectable_format:number_highlighted_sections": lambda: " ".join(
            draw.choice(["*{}*", "**{}**", "** {}*"]).format(word) for word in text.split()[: about["num_highlights"] + 1 - off]),
        "detectable_format:title": lambda: draw.choice(["<<{}>>\n", "<< {}", "<<<>>>{}", "{} <<a>>"]).format(some[0]),
        "keywords:existence": lambda: draw.choice([" ".join(about["keywords"]), "CAT bat the U,S. season, oslo plums"]),
        "language:response_language": lambda: LANGUAGES[about["language"]] + draw.choice(["", " " + some[0]]),
        "length_constraints:nth_paragraph_first_word": lambda: "\n\n".join(
            (about["first_word"].title() + draw.choice([". ", " ", "'s "]) if i + 1 == about["nth_paragraph"] else "") + line
            for i, line in enumerate((some * 2)[: about["num_paragraphs"] + off])),
        "length_constraints:number_paragraphs": lambda: draw.choice([" *** ", "\n***\n", "***"]).join((some * 2)[: about["num_paragraphs"] + off]),
        "startend:end_checker": lambda: text + draw.choice([" {}", " {} ", '"{}"', " {}!"]).format(about["end_phrase"]),
        "startend:quotation": lambda: draw.choice(['"{}"', ' "{}" \n', '"{}', "“{}”"]).format(text),
    }.get(kind, lambda: shape(lines, draw))()


def verdict(row, response):
    example = types.SimpleNamespace(**row)
    strict = utils.test_instruction_following_strict(example, response).follow_instruction_list
    loose = utils.test_instruction_following_loose(example, response).follow_instruction_list
    return row | {"response": response, "strict": strict, "loose": loose}


def own(draw):
    kinds = sorted(utils.instructions_registry.INSTRUCTION_DICT)
    for number in range(400):
        chosen = [kinds[number % len(kinds)]] + draw.sample(kinds, draw.randint(0, 2))
        row = {"key": number, "prompt": "Write about cats.", "instruction_id_list": chosen, "kwargs": [instruction(kind, draw) for kind in chosen]}
        response = aimed(chosen[0], row["kwargs"][0], SENTENCES, draw) if draw.random() < 0.7 else shape(SENTENCES, draw)
        yield verdict(row, response)


def others(rows, texts, count, draw):
    lines = [line.strip() for line in open(texts) if line.strip()]
    for row in map(json.loads, open(rows)):
        for _ in range(count):
            start = draw.randrange(len(lines))
            yield verdict({key: row[key] for key in ("key", "prompt", "instruction_id_list", "kwargs")}, shape(lines[start:start + 12], draw))


def main():
    draw = random.Random(20261124)
    if sys.argv[1:]:
        rows, texts, out, count = sys.argv[1:]
        cases = others(rows, texts, int(count), draw)
    else:
        out, cases = HERE / "../tests/fixtures/ifeval.jsonl", own(draw)
    with open(out, "w") as file:
        file.writelines(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)


if __name__ == "__main__":
    main()
