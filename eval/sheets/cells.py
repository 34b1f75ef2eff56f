"""Cells that Excel, LibreOffice and WPS open and save without harm."""

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # full width too: some locales run them


def protect_id(product_id: str) -> str:
    """An id as a cell that no spreadsheet turns into a number, a date or a formula: behind an apostrophe."""
    return "'" + product_id


def guard(cell: str) -> str:
    """`cell` with an apostrophe before anything a spreadsheet would run, and before a leading apostrophe."""
    return "'" + cell if cell.startswith((*_FORMULA, "'")) else cell


def unguard(cell: str) -> str:
    """The inverse of `guard`; any other cell, a protected id among them, comes back as it is."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell
