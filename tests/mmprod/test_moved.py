"""Spellings of commands that were others once are refused, with the ones that have taken their place."""

import json
import shlex
import sys

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from mmprod.cli.app import app
from mmprod.cli.moved import MOVED

WAS = {  # what somebody types, and what is said to type instead
    "index": "index build",
    "index --profile same_item": "index build",
    "index --hold --wait": "index build",
    "promote": "index promote",
    "promote --profile same_item": "index promote",
    "rollback": "index rollback --profile PROFILE",
    "rollback same_item": "index rollback --profile PROFILE",
    "rollback same_item g000001 --from g000003": "index rollback --profile PROFILE",
    "rollback release": "release rollback",
    "rollback --from g000003 release": "release rollback",
    "recall": "recall build",
    "recall --profile same_item": "recall build",
    "groups": "groups build",
    "features --wait": "features build",
    "release": "release build",
    "release --export": "release build",
    "evaluate": "evaluate survey",
    "evaluate --strict": "evaluate survey",
    "evaluate --survey search": "evaluate survey NAME",
    "evaluate --out a.html --survey=search": "evaluate survey NAME",
    "evaluate --recall recall.csv --labels labels.csv": "evaluate recall TABLE LABELS",
    "evaluate --labels labels.csv": "evaluate recall TABLE LABELS",
    "evaluate --trec-run run.txt --trec-qrels qrels.txt": "evaluate trec RUN QRELS",
    "evaluate --trec-qrels=qrels.txt": "evaluate trec RUN QRELS",
    "evaluate --groups groups.csv --truth truth.csv": "evaluate groups GROUPS TRUTH",
    "evaluate --truth truth.csv": "evaluate groups GROUPS TRUTH",
    "searches": "searches run FILE",
    "searches texts.txt --top 20": "searches run FILE",
}


def mmprod(monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    monkeypatch.setattr(sys, "argv", ["mmprod", *words])
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize("words", WAS)
def test_an_earlier_spelling_is_refused_with_the_one_of_now(words: str, monkeypatch) -> None:
    result = mmprod(monkeypatch, *shlex.split(words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"is now `mmprod {WAS[words]}`" in result.stderr
    machines = mmprod(monkeypatch, *shlex.split(words), "--json")
    told = json.loads(machines.stdout)
    assert (machines.exit_code, told["exit_code"], told["retry"]) == (2, 2, False)
    assert f"is now `mmprod {WAS[words]}`" in told["error"]


def test_every_row_of_the_table_is_tried_here() -> None:
    assert {now for _, now in MOVED} == set(WAS.values())


@pytest.mark.parametrize("now", [now for _, now in MOVED])
def test_what_is_named_instead_is_a_command(now: str) -> None:
    found = typer.main.get_group(app)
    for word in now.split():
        if isinstance(found, TyperGroup):
            found = found.commands[word]
    assert not isinstance(found, TyperGroup), now


def test_who_only_mistypes_is_told_what_there_is(monkeypatch) -> None:
    for words, meant in (("index bulid", "build"), ("evaluate survay", "survey"), ("indx", "index")):
        result = mmprod(monkeypatch, *words.split())
        assert result.exit_code == 2
        assert f"Did you mean '{meant}'" in result.stderr and "is now" not in result.stderr


@pytest.mark.parametrize("noun", ["index", "recall", "groups", "features", "release", "evaluate", "searches"])
def test_help_of_a_noun_is_not_taken_for_an_earlier_spelling(noun: str, monkeypatch) -> None:
    result = mmprod(monkeypatch, noun, "--help")
    assert result.exit_code == 0 and f"Usage: root {noun}" in result.stdout
