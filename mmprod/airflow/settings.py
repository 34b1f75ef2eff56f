"""The DAGs' settings, from one Airflow variable; everything else is in the TOML file that it names."""

from dataclasses import dataclass, fields
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

from mmprod.airflow.typed import check

VARIABLE = "mmprod"


@dataclass(frozen=True)
class Settings:
    """The Airflow variable `mmprod`, a JSON object; every path is absolute.

    `command`: the mmprod command in the environment where it is installed. `config`: its TOML file. `lake`:
    the folder of all state. `tables`: the path at which a day's product table arrives; ``{day}`` stands for
    the day, e.g. 2025-03-01. `backups`: the folder for copies of the store. `selection`: the TOML file of the
    weekly selection; default: `config`. `texts`: saved searches, one a line. `lists`: the folder for lists of
    their results; if not given, none are written. `alerts`: the address to which failures and delays are
    posted. `encoding`: how many tasks of pool `mmprod_gpu` run in parallel on one machine and share its
    cores.
    """

    command: str
    config: str
    lake: str
    tables: str
    backups: str
    selection: str = ""
    texts: str = ""
    lists: str = ""
    alerts: str = ""
    encoding: int = 2

    @classmethod
    def read(cls) -> "Settings":
        """Read the variable. Raises: AirflowFailException if it is missing or invalid."""
        content = Variable.get(VARIABLE, default=None, deserialize_json=True)
        return cls.of(content)

    @classmethod
    def of(cls, content: Any) -> "Settings":
        """Settings from the variable's content. Raises: AirflowFailException if it is invalid."""
        try:
            settings = cls(**content)
        except TypeError as error:
            wanted = ", ".join(field.name for field in fields(cls))
            raise AirflowFailException(
                f"the Airflow variable {VARIABLE!r} is {content!r}, want a JSON object of {wanted} ({error})"
            ) from None
        check(f"the Airflow variable {VARIABLE!r}", content)
        if not isinstance(settings.encoding, int) or settings.encoding < 1:
            raise AirflowFailException(f"encoding is {settings.encoding!r}, want a number from 1 up")
        if "{day}" not in settings.tables:
            raise AirflowFailException(f"tables is {settings.tables!r}, want a path with {{day}} in it")
        return settings
