"""Settings: the words in a column of a product table by which it says which products are removed."""

from pydantic import BaseModel, ConfigDict, Field

COLUMN = "op"
REMOVED = ("d", "delete", "deleted", "remove", "removed")
KEPT = ("c", "r", "u", "i", "create", "read", "update", "insert", "upsert", "update_postimage")
"""Of Debezium (create, read, update), of Delta Lake's change data feed, and of other programs."""


class Live(BaseModel):
    """Which words in a column mean that a product is live; any other word means that it is removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    values: tuple[str, ...] = Field(min_length=1)
    gone: tuple[str, ...] = ()  # words that mean removed; if given, a row with any other word is refused


class Operation(BaseModel):
    """The words in a column of a change feed by which a row removes its product, or doesn't."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = COLUMN
    removed: tuple[str, ...] = Field(default=REMOVED, min_length=1)
    kept: tuple[str, ...] = Field(default=KEPT, min_length=1)  # a row with any other word is refused
