"""Names of questions: what is shown of two products, and the pair that is asked about."""

from hashlib import blake2b


def shown(image_hash: bytes | None, text_hash: bytes | None) -> str:
    """What a reviewer sees of a product, as 16 hex digits: of its picture's hash and its title's.

    None stands for what there is not. A text that was searched for has a hash of its text alone.
    """
    parts = [b"-:" if part is None else b"%d:%b" % (len(part), part) for part in (image_hash, text_hash)]
    return blake2b(b"".join(parts), digest_size=8, person=b"shown").hexdigest()


def pair_id(a: tuple[str, str], b: tuple[str, str]) -> str:
    """The name of the question "are these two the same?": ``pair_id(a, b) == pair_id(b, a)``.

    Each side is (product_id, shown), so another picture or title makes it another question, and an answer
    is never taken for one about something the reviewer did not see. "p" and 20 hex digits of blake2b; the
    letter keeps spreadsheets from taking it for a number.
    """
    content = "".join([f"{len(part)}:{part}" for side in sorted((a, b)) for part in side])
    return "p" + blake2b(content.encode(), digest_size=10, person=b"pair").hexdigest()


def repeat_id(pair_id: str) -> str:
    """What the sheet calls `pair_id` the second time: it looks like any other, and is the same every time."""
    return "p" + blake2b(pair_id.encode(), digest_size=10, person=b"repeat").hexdigest()
