"""Protects cells against changes by Excel, LibreOffice and WPS."""

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # also full-width: some locales run them


def protect_id(product_id: str) -> str:
    """An id with an apostrophe, so that no spreadsheet turns it into a number, a date or a formula."""
    return "'" + product_id


def guard(cell: str) -> str:
    """`cell` with an apostrophe added if it looks like a formula or begins with an apostrophe."""
    return "'" + cell if cell.startswith((*_FORMULA, "'")) else cell


def unguard(cell: str) -> str:
    """The inverse of `guard`; any other cell, including a protected id, is returned unchanged."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell
