"""Intervals: of a share of right answers, and, by paired bootstrap, of a difference and of the share of a gap."""

import math
import random

DRAWS, SEED = 2000, 42


def bits(text):
    return [int(letter) for letter in text]


def mean(values):
    return sum(values) / len(values)


def wilson(right, count):
    """95% score interval of a share (Wilson 1927): sensible at 0 and 1 too."""
    z = 1.959964
    share, square = right / count, z * z / count
    middle, half = share + square / 2, z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def bootstrap(columns, figure):
    """95% percentile interval of a figure of the columns' means; a draw takes the same questions in every column."""
    draw, count = random.Random(SEED), len(columns[0])
    found = []
    for _ in range(DRAWS):
        rows = [draw.randrange(count) for _ in range(count)]
        value = figure(*[mean([column[row] for row in rows]) for column in columns])
        if value is not None:
            found.append(value)
    found.sort()
    return (found[int(0.025 * len(found))], found[min(int(0.975 * len(found)), len(found) - 1)]) if found else None


def gain(alone, other):
    """Difference of two columns of verdicts, and its interval."""
    return mean(other) - mean(alone), bootstrap([alone, other], lambda a, b: b - a)


def gap_share(alone, value, tuned):
    """(value - alone) / (tuned - alone) and its interval; `None` unless tuning gains by its whole interval."""
    if gain(alone, tuned)[1][0] <= 0:
        return None
    share = lambda a, v, t: (v - a) / (t - a) if t > a else None  # noqa: E731
    return share(mean(alone), mean(value), mean(tuned)), bootstrap([alone, value, tuned], share)
