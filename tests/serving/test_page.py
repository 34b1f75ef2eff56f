"""What docs/serving.md shows is answered, and what dashboard and alerts name is there, by the real server."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mmprod.serving.client import Client
from mmprod.serving.errors import Refused
from mmprod.serving.types import Product

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
ADDRESS = "127.0.0.1:8000"  # as the page has it
CURLS = [
    block
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    if f"http://{ADDRESS}" in block
]
SNIPPETS = re.findall(r"^```python server\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
ALERTS = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "serving.json").read_text())
OF_A_SCRAPE = {"job", "instance"}  # labels that Prometheus adds


def asked() -> dict[str, promql_parser.Expr]:
    """The questions to Prometheus by where they stand; a dashboard's own variables as a value."""
    texts = {rule["alert"]: rule["expr"] for rule in ALERTS}
    for panel in DASHBOARD["panels"]:
        texts |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    texts |= {one["name"]: one["expr"] for one in DASHBOARD["annotations"]["list"]}
    return {name: promql_parser.parse(text.replace("$__rate_interval", "5m")) for name, text in texts.items()}


def children(node: Any) -> list[Any]:
    parts = [getattr(node, name, None) for name in ("vector_selector", "expr", "lhs", "rhs")]
    return [part for part in parts if part] + [*getattr(node, "args", [])]


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    """Every metric that an expression asks for."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for child in children(node):
        yield from selectors(child)


def grouped(node: Any) -> Iterator[str]:
    """Every label that an expression sums by."""
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
        yield from node.modifier.labels
    for child in children(node):
        yield from grouped(child)


def test_alerts_are_whole_and_the_page_says_what_to_do() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    assert set(re.findall(r"`(Serving[A-Z]\w+)`", PAGE)) == set(names)
    for rule in ALERTS:
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")


def test_panels_have_their_own_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert x + w <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.slow
@pytest.mark.parametrize("block", CURLS, ids=range(len(CURLS)))
def test_curl_gets_what_the_page_says(block: str, started: Any, world: Any, tmp_path: Path) -> None:
    known, *_ = world.both()
    (tmp_path / "mug.jpg").write_bytes(world.content(known).picture)
    (tmp_path / ".curlrc").write_text('write-out = "\\n%{http_code}"\n')
    script = block.replace(ADDRESS, started.server.address).replace("D000012", known)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "CURL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    if "no such product" in block:
        assert status == "400" and json.loads(body)["error"].startswith("unknown_id: ")
    else:
        assert status == "200", body
        assert all(output["data"] for output in json.loads(body)["outputs"])


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_pages_python_runs(
    snippet: str, started: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mug.jpg").write_bytes(world.content(world.both()[0]).picture)
    monkeypatch.chdir(tmp_path)
    exec(snippet.replace(ADDRESS, started.server.address), {})


@pytest.mark.slow
def test_what_is_watched_is_there(started: Any, client: Client) -> None:
    """Each metric, with the labels that it is asked by; starting and one refusal make them all."""
    with pytest.raises(Refused):
        client.search(Product("no such product"), 3, "same_item")
    host, _, port = started.server.address.partition(":")
    scrape = httpx.get(f"http://{host}:{int(port) + 2}/metrics").text
    assert [*text_string_to_metric_families(scrape)], "Prometheus can't read it"
    found: dict[str, set[str]] = {"up": set()}
    for name, labels in re.findall(r"^(\w+)(?:{(.*)})? ", scrape, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    for where, expression in asked().items():
        known = set(OF_A_SCRAPE)
        for selector in selectors(expression):
            assert selector.name in found, f"{where} asks for {selector.name}"
            labels = {matcher.name for matcher in selector.matchers.matchers}
            known |= found[selector.name]
            assert labels <= found[selector.name] | OF_A_SCRAPE, f"{where}: {selector.name} by {labels}"
        assert set(grouped(expression)) <= known, where
    for name in re.findall(r"`(mmprod_\w+)`", PAGE):
        assert any(sample.startswith(name) for sample in found), f"the page tells of {name}"
