"""Earlier spellings of commands: each is refused, and the error names the new one."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from mmprod.storage.errors import InputError

MOVED = (  # old, new; the first match wins; words in capitals are placeholders
    ("index", "index build"),
    ("promote", "index promote"),
    ("rollback release", "release rollback"),
    ("rollback PROFILE", "index rollback --profile PROFILE"),
    ("recall", "recall build"),
    ("groups", "groups build"),
    ("features", "features build"),
    ("release", "release build"),
    ("evaluate --trec-run RUN --trec-qrels QRELS", "evaluate trec RUN QRELS"),
    ("evaluate --groups GROUPS --truth TRUTH", "evaluate groups GROUPS TRUTH"),
    ("evaluate --recall TABLE --labels LABELS", "evaluate recall TABLE LABELS"),
    ("evaluate --survey NAME", "evaluate survey NAME"),
    ("evaluate", "evaluate survey"),
    ("searches FILE", "searches run FILE"),
)


class Noun(TyperGroup):
    """A group of commands whose name used to be a command itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = (*self.commands, *ctx.help_option_names)
        if not ctx.resilient_parsing and (not args or args[0] not in known):
            refuse([ctx.info_name, *args])
        return super().parse_args(ctx, args)


def refuse(words: Sequence[str]) -> None:
    """Raise InputError, naming the new spelling, if `words` (without ``mmprod``) are an earlier one."""
    for was, now in MOVED:
        if _fits(was, words):
            raise InputError(f"`mmprod {was}` is now `mmprod {now}`; other options are as they were")


def _fits(was: str, words: Sequence[str]) -> bool:
    """Whether `words` are a use of the old command `was`.

    They are if the command's name is equal and one of the lower-case words of `was` occurs. If `was` has no
    such words, they are if they have the form that the old command took: an argument, or only options.
    """
    name, *rest = was.split()
    told_by = {word for word in rest if not word.isupper()}
    if words[0] != name:
        return False
    if told_by:
        return any(word.partition("=")[0] in told_by for word in words[1:])
    return bool(rest) or len(words) == 1 or words[1].startswith("-")
