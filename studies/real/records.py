"""Sentences about payments and their records as JSON: a generator whose every row follows from a seed.

A row is a sentence with a payer, a payee, an amount, a currency and a date, of which some are missing, and the record of what it says:

    {"payer":"Mira Holt","payee":"Arlo Quint","amount":1250.5,"currency":"USD","date":"2021-03-03"}

Names and patterns of the test occur in no row of training, half of the patterns excepted.
"""

import json
import random
import re

FIELDS = ["payer", "payee", "amount", "currency", "date"]
INSTRUCTION = (
    "Write the payment as one line of JSON with payer, payee, amount, currency (USD, EUR or GBP) and date (YYYY-MM-DD), null where missing."
)
FIRST = {
    "train": "Mira Arlo Suna Ilen Pavo Reto Nela Tobin Yara Vikram Elsa Hugo Lena Omar Ruth Felix Ines Karim Dora Sven".split(),
    "test": "Anika Boris Chloe Dmitri Erika Farid Greta Hiro Imke Jonas Keiko Luis Marta Nils Olga Priya".split(),
}
LAST = {
    "train": "Holt Quint Voss Marsh Okafor Lindqvist Rao Ferrer Novak Brandt Ito Keller Mbeki Olsen Petrov Sato".split(),
    "test": "Adler Becker Castro Duval Eriksen Fontana Gupta Haddad Ivanov Jansen Kimura Lopez Moreau Nguyen".split(),
}
MONTHS = "January February March April May June July August September October November December".split()
# What stands in brackets may be missing.
PATTERNS = {
    "train": [
        "{payer} paid {payee} {amount}[ on {date}].",
        "[On {date}, ]{payee} received {amount}[ from {payer}].",
        "{payer} sent {amount} to {payee}[ on {date}].",
        "A transfer of {amount}[ from {payer}] reached {payee}[ on {date}].",
        "[{date}: ]{payer} owes nothing more after giving {payee} {amount}.",
        "{payee} confirms receipt of {amount}[ from {payer}][ (dated {date})].",
    ],
    "test": [
        "{payer} paid {payee} {amount}[ on {date}].",
        "[On {date}, ]{payee} received {amount}[ from {payer}].",
        "{payer} sent {amount} to {payee}[ on {date}].",
        "{payee} was paid {amount}[ by {payer}][ on {date}].",
        "The sum of {amount} went[ from {payer}] to {payee}[ on {date}].",
        "[Dated {date}: ]{payer} settled the bill of {payee} with {amount}.",
    ],
}
MISSING = 0.35


def amount(draw):
    """A number, its currency and a way to write both."""
    cents = draw.choice([0, 0, 50, 25, 99])
    value = draw.choice([draw.randint(5, 99), draw.randint(100, 999), draw.randint(1000, 9999)]) + cents / 100
    digits = f"{value:,.2f}" if cents else f"{int(value):,}"
    currency = draw.choice(["USD", "EUR", "GBP"])
    sign, word = {"USD": ("$", "dollars"), "EUR": ("€", "euros"), "GBP": ("£", "pounds")}[currency]
    text = draw.choice([f"{sign}{digits}", f"{digits} {word}", f"{digits} {currency}"])
    return (value if cents else int(value)), currency, text


def date(draw):
    year, month, day = draw.randint(1998, 2026), draw.randint(1, 12), draw.randint(1, 28)
    name = MONTHS[month - 1]
    suffix = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    text = draw.choice([f"{day} {name} {year}", f"{name} {day}, {year}", f"{name} {day}{suffix}, {year}", f"{year}-{month:02}-{day:02}"])
    return f"{year}-{month:02}-{day:02}", text


def row(draw, part):
    """A sentence and its record. Each stretch in brackets is left out with probability `MISSING`."""
    pieces = re.split(r"\[([^\]]*)\]", draw.choice(PATTERNS[part]))
    pattern = "".join(piece for index, piece in enumerate(pieces) if index % 2 == 0 or draw.random() >= MISSING)
    payer, payee = [f"{draw.choice(FIRST[part])} {draw.choice(LAST[part])}" for _ in range(2)]
    value, currency, amount_text = amount(draw)
    day, day_text = date(draw)
    record = {"payer": payer, "payee": payee, "amount": value, "currency": currency, "date": day}
    record = {field: part for field, part in record.items() if field == "currency" or "{" + field + "}" in pattern}
    record = {field: record.get(field) for field in FIELDS}
    text = pattern.format(payer=payer, payee=payee, amount=amount_text, date=day_text)
    return {"sentence": text, "record": json.dumps(record, separators=(",", ":"), ensure_ascii=False)}


def rows(part, count, seed):
    """Distinct rows of a part, `train` or `test`."""
    draw, found = random.Random(f"{part} {seed}"), {}
    while len(found) < count:
        made = row(draw, part)
        found.setdefault(made["sentence"], made)
    return list(found.values())


def prompt(sentence_text):
    return f"{INSTRUCTION}\nPayment: {sentence_text}\nJSON:"


def verdicts(answer, wanted):
    """Whether an answer is a record (`valid`), is the right one (`exact`), and holds the right one somewhere (`flexible`)."""
    wanted = json.loads(wanted)
    record = parse(answer.strip())
    inside = [parse(answer[start : end + 1]) for start in [answer.find("{")] for end in [answer.find("}", start)] if 0 <= start < end]
    return {
        "valid": is_record(record),
        "exact": is_record(record) and record == wanted,
        "flexible": any(found == wanted for found in inside),
    }


def is_record(value):
    return isinstance(value, dict) and sorted(value) == sorted(FIELDS)


def parse(text):
    try:
        return json.loads(text)
    except ValueError:
        return None
