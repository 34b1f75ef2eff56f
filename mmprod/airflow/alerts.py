"""Alerts: a task that has finally failed, a run that missed its deadline."""

import asyncio
import json
import logging
import urllib.request
from datetime import timedelta
from typing import Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference
from asgiref.sync import sync_to_async

from mmprod.airflow.settings import Settings

log = logging.getLogger(__name__)


def failed(context: Any) -> None:
    """A task's `on_failure_callback`: reports the task, the error and the address of its log."""
    ti = context["ti"]
    post(
        Settings.read().alerts,
        f"{ti.dag_id} {ti.task_id} of {ti.run_id} failed: {context.get('exception')}; {ti.log_url}",
    )


async def late(dag_id: str, **context: Any) -> None:
    """The callback of a missed deadline."""
    settings = await sync_to_async(Settings.read)()
    run = context.get("context", {}).get("dag_run", {})
    await asyncio.to_thread(post, settings.alerts, f"{dag_id} is late: {run.get('dag_run_id', 'a run')}")


def within(dag_id: str, interval: timedelta) -> DeadlineAlert:
    """An alert if a run has not finished `interval` after it was queued."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval.total_seconds(),  # with a timedelta no run can be cleared (apache/airflow#70368)
        callback=AsyncCallback(late, kwargs={"dag_id": dag_id}),
    )


def post(address: str, text: str) -> None:
    """Log the text, and post it as ``{"text": …}`` if an address is configured; never raises."""
    log.error("%s", text)
    if not address.startswith(("http://", "https://")):
        return
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as error:
        log.error("the alert could not be sent to %s: %s", address, error)
