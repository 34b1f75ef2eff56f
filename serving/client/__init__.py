"""Clients of the online service over HTTP: `Client` for threads, `AsyncClient` for asyncio."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmprod.serving.client.aio import AsyncClient
    from mmprod.serving.client.sync import Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """Import a client at its first use: each one imports its own HTTP library."""
    if name == "Client":
        from mmprod.serving.client.sync import Client

        return Client
    if name == "AsyncClient":
        from mmprod.serving.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
