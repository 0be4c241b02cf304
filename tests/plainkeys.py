"""Keys of users, items and pairs in plain Python, for comparison."""

import hashlib

MASK = 2**64 - 1


def plain_keys(text: str, seed: int, what: bytes, n: int) -> list[int]:
    """The first n keys of an id."""
    digest = hashlib.blake2b(
        text.encode(), digest_size=8 * n, salt=bytes((seed >> 8 * b) & 255 for b in range(16)), person=what
    ).digest()
    return [sum(digest[8 * k + b] << 8 * b for b in range(8)) for k in range(n)]


def plain_pair_key(user: str, item: str, seed: int) -> int:
    """The key of a user and an item."""
    return mix(
        (plain_keys(user, seed, b"recae user", 3)[2] + plain_keys(item, seed, b"recae item", 1)[0]) & MASK
    )


def mix(z: int) -> int:
    """The finaliser of SplitMix64."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)
