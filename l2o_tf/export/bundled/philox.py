"""The draws of l2o_tf's `seeds` that the schedule needs, in plain Python: the same bits."""

import zlib

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_KEY_OF_SEEDS = 0x3EC8F720, 0x02461E29
_ROUNDS = 10
_WORD = 0xFFFFFFFF

Seed = tuple[int, int]


def make_seed(run_seed: int, purpose: str) -> Seed:
    """The seed of everything drawn for `purpose` in the run `run_seed`."""
    return run_seed, zlib.crc32(purpose.encode()) & 0x7FFFFFFF


def fold(seed: Seed, *indices: int) -> Seed:
    """Derives a seed for one combination of integers."""
    for index in indices:
        word = _first_word(seed)
        seed = (word - 2**32 if word >= 2**31 else word), index
    return seed


def uniform(seed: Seed) -> float:
    """Draws U(0, 1), a number that float32 holds exactly."""
    return (_first_word(seed) % 2**23 + 0.5) * 2.0**-23


def _first_word(seed: Seed) -> int:
    # Python's shift keeps the sign: seeds are widened to 64 bits with theirs.
    counter = tuple(part for s in seed for part in (s & _WORD, (s >> 32) & _WORD))
    mixed = _philox(counter, _KEY_OF_SEEDS)
    return _philox((0, 0, mixed[2], mixed[3]), mixed[:2])[0]


def _philox(counter, key):
    a, b, c, d = counter
    key_b, key_d = key
    for _ in range(_ROUNDS):
        first, second = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, b = (second >> 32) ^ b ^ key_b, second & _WORD
        c, d = (first >> 32) ^ d ^ key_d, first & _WORD
        key_b, key_d = (key_b + _WEYL[0]) & _WORD, (key_d + _WEYL[1]) & _WORD
    return a, b, c, d
