"""What the DAGs have to know, from one Airflow variable; all else stands in the TOML file it names."""

from dataclasses import dataclass, fields
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

from mmprod.airflow.typed import check

VARIABLE = "mmprod"


@dataclass(frozen=True)
class Settings:
    """The Airflow variable `mmprod`, a JSON object; every path is absolute.

    `command`: the mmprod command in the environment it is installed in. `config`: its TOML file. `lake`: the
    folder of all state. `tables`: where a day's product table arrives, with ``{day}`` for 2025-03-01.
    `backups`: where copies of the store go. `selection`: TOML file of the weekly selection, `config` if not
    given. `texts`: saved searches, one a line. `lists`: the folder for lists of what they found; none if not
    given. `alerts`: an address that failures and delays are posted to. `encoding`: how many tasks of pool
    `mmprod_gpu` run at once on one machine and share its cores, by default the pool's slots.
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
        """The variable as it is now. Raises: AirflowFailException when it is missing or not as above."""
        content = Variable.get(VARIABLE, default=None, deserialize_json=True)
        return cls.of(content)

    @classmethod
    def of(cls, content: Any) -> "Settings":
        """Settings from the variable's content. Raises: AirflowFailException when it can't be used."""
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
