"""A command's JSON, as a summary for later tasks and as lines for the task's log."""

from collections.abc import Iterator
from typing import Any


def outcomes(content: Any) -> list[dict[str, Any]]:
    """The outcomes of a command's stages, if it runs any; see `mmprod.stages.outcome`."""
    content = content if isinstance(content, dict) else {}
    found: list[dict[str, Any]] = content.get("stages", [content] if "stage" in content else [])
    return found


def made(content: Any) -> dict[str, str]:
    """The folder of each artifact that the stages made or reused, with its current version."""
    return {folder: version for one in outcomes(content) for folder, version in one["made"].items()}


def summary(content: Any) -> dict[str, Any]:
    """The part of a command's JSON that is passed between tasks: numbers, names, paths, lengths of lists.

    Outcomes are keyed by stage; the second outcome of a stage is "stage #2".
    """
    told: dict[str, Any] = {}
    for outcome in outcomes(content):
        before = sum(key.partition(" #")[0] == outcome["stage"] for key in told)
        key = f"{outcome['stage']} #{before + 1}" if before else outcome["stage"]
        told[key] = {**_short(outcome["detail"]), **_short(outcome), "made": outcome["made"]}
    return told or _short(content)


def _short(content: Any) -> dict[str, Any]:
    kept = {} if not isinstance(content, dict) else content
    return {
        name: len(value) if isinstance(value, list) else value
        for name, value in kept.items()
        if not isinstance(value, dict)
    }


def lines(content: Any) -> Iterator[str]:
    """Lines for the log: counts, results of the gate, and each artifact's folder and generation."""
    told = outcomes(content)
    for outcome in told:
        counts = ", ".join(f"{outcome[name]:,} {name}" for name in ("changed", "reused", "refused"))
        yield f"{outcome['stage']}: {outcome['rows']:,} rows in {outcome['seconds']:,.1f} s; {counts}"
        detail = _short(outcome["detail"])
        if detail:
            yield "  " + ", ".join(f"{name} {_figure(value)}" for name, value in detail.items())
        yield from _gate(outcome["detail"].get("gate"))
        yield from (f"  {folder} at {version}" for folder, version in outcome["made"].items())
    if not told:
        yield from (f"{name}: {_figure(value)}" for name, value in _short(content).items())


def _gate(gate: Any) -> Iterator[str]:
    if gate:
        checks = (f"{check_name(check)} {_figure(check['value'])}" for check in gate["checks"])
        yield f"  gate {'passed' if gate['passed'] else 'refused'}: {', '.join(checks)}"


def check_name(check: dict[str, Any]) -> str:
    """The name of a check: "recall@10", or, for one of an engine's towers, "image cosine"."""
    return f"{check['tower']} {check['name']}" if "tower" in check else str(check["name"])


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
