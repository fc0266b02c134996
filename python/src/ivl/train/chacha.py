"""ChaCha8, the generator of the Rust library: the same seeds give the same draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_MASK64 = (1 << 64) - 1
#: "expand 32-byte k", as four words.
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
#: The columns and diagonals of a double round.
_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip


def _seed_words(seed: int) -> list[int]:
    """A key of eight words by PCG32, as `SeedableRng::seed_from_u64` of rand_core makes it."""
    words, state = [], seed & _MASK64
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & _MASK64
        shifted = (((state >> 18) ^ state) >> 27) & 0xFFFFFFFF
        turn = state >> 59
        words.append(((shifted >> turn) | (shifted << (-turn & 31))) & 0xFFFFFFFF)
    return words


def _rotated(word: Words, by: int) -> Words:
    return (word << np.uint32(by)) | (word >> np.uint32(32 - by))


class ChaCha8:
    """A generator of one seed and stream; numbers are drawn in order."""

    def __init__(self, seed: int, stream: int) -> None:
        self._key = _seed_words(seed)
        self._stream = stream & _MASK64
        self._drawn = 0

    def _blocks(self, first: int, count: int) -> Words:
        """The words of some blocks, `[count, 16]`."""
        counters = np.arange(first, first + count, dtype=np.uint64)
        state = np.empty((16, count), np.uint32)
        fixed = [*_CONSTANTS, *self._key]
        state[:12] = np.array(fixed, np.uint32)[:, None]
        state[12], state[13] = counters.astype(np.uint32), (counters >> np.uint64(32)).astype(np.uint32)
        state[14], state[15] = self._stream & 0xFFFFFFFF, self._stream >> 32
        x = list(state.copy())
        for _ in range(4):
            for a, b, c, d in _QUARTERS:
                for left, right, by in ((a, d, 16), (c, b, 12), (a, d, 8), (c, b, 7)):
                    other = b if left == a else d
                    x[left] = x[left] + x[other]
                    x[right] = _rotated(x[right] ^ x[left], by)
        return (np.stack(x) + state).T

    def integers(self, count: int) -> npt.NDArray[np.uint64]:
        """The next numbers of 64 bits."""
        start, end = 2 * self._drawn, 2 * (self._drawn + count)
        first = start // 16
        words = self._blocks(first, -(-end // 16) - first).ravel()[start - 16 * first : end - 16 * first].astype(np.uint64)
        self._drawn += count
        return words[::2] | (words[1::2] << np.uint64(32))

    def uniforms(self, count: int) -> npt.NDArray[np.float64]:
        """The next numbers from 0 to below 1."""
        return (self.integers(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
