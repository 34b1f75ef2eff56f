"""Ids of questions: made from the ids of two products and from what is shown of them."""

from hashlib import blake2b


def shown(image_hash: bytes | None, text_hash: bytes | None) -> str:
    """A hash of what a reviewer sees of a product, 16 hex digits, from its picture's and title's hashes.

    None: there is no picture or title. A text that was searched for has only a text hash.
    """
    parts = [b"-:" if part is None else b"%d:%b" % (len(part), part) for part in (image_hash, text_hash)]
    return blake2b(b"".join(parts), digest_size=8, person=b"shown").hexdigest()


def pair_id(a: tuple[str, str], b: tuple[str, str]) -> str:
    """The id of the question "are these two the same?": ``pair_id(a, b) == pair_id(b, a)``.

    Each side is (product_id, shown). With another picture or title it is another question, so an answer is
    never applied to something the reviewer did not see. The id is "p" and 20 hex digits of blake2b; with the
    letter spreadsheets don't take it for a number.
    """
    content = "".join([f"{len(part)}:{part}" for side in sorted((a, b)) for part in side])
    return "p" + blake2b(content.encode(), digest_size=10, person=b"pair").hexdigest()


def repeat_id(pair_id: str) -> str:
    """The question id of a repeated question: deterministic, and of the same form as other ids."""
    return "p" + blake2b(pair_id.encode(), digest_size=10, person=b"repeat").hexdigest()
