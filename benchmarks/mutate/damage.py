"""What happens to bytes on their way: flipped, cut, doubled, taken for other bytes."""

import random

SCRAPS = (
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b"\0",
    b"'",
    b"\xff",
    b"<",
    b"\\",
    b"\xc3",
    b"1.2E+10",
)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """One accident; at least a byte of `data` is left."""
    at, to = sorted(rng.randrange(len(data)) for _ in range(2))
    kind = rng.randrange(7)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + rng.choice(SCRAPS) + data[at:]
    if kind == 2:
        return data[: max(to, 1)]
    if kind == 3:
        return data[:at] + data[min(to, at + 60) :] or data
    if kind == 4:
        return data[:to] + data[at:]
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    if kind == 5:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = lines[i].replace(*rng.choice([(b",", b";"), (b",", b""), (b'"', b""), (b"\r", b"")]), 1)
    return b"\n".join(lines)
