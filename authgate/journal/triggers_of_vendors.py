"""The SQL of the journal's triggers. Both databases write the same JSON, so each can read the other's.

Times and UUIDs are written as Django stores them in SQLite.
"""

from __future__ import annotations

from authgate.journal.tables import CONTEXT, ENTRIES, MOMENT, TRUTH, UUID, Table

NOW_ON_SQLITE = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
_COLUMNS = "(at, change, actor, table_name, key, before, after, person, team, application, is_baseline)"

GUARDS = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS journal_never_changes",
        f"CREATE TRIGGER journal_never_changes BEFORE UPDATE ON {ENTRIES} FOR EACH ROW "
        "BEGIN SELECT RAISE(ABORT, 'entries of the journal cannot be changed'); END",
        "DROP TRIGGER IF EXISTS journal_only_grows",
        f"CREATE TRIGGER journal_only_grows BEFORE DELETE ON {ENTRIES} FOR EACH ROW "  # noqa: S608
        f"WHEN NOT EXISTS (SELECT 1 FROM {CONTEXT} WHERE id = 2) "
        "BEGIN SELECT RAISE(ABORT, 'entries of the journal cannot be deleted'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION journal_refuses() RETURNS trigger LANGUAGE plpgsql AS $ikd$ BEGIN "
        "IF TG_OP <> 'UPDATE' AND current_setting('ikd.journal_pass', true) = 'on' THEN RETURN OLD; END IF; "
        "RAISE EXCEPTION 'entries of the journal cannot be changed or deleted' "
        "USING ERRCODE = 'integrity_constraint_violation'; END $ikd$",
        *(
            f"CREATE OR REPLACE TRIGGER {name} BEFORE {event} ON {ENTRIES} FOR EACH {each} "
            "EXECUTE FUNCTION journal_refuses()"
            for name, event, each in (
                ("journal_never_changes", "UPDATE", "ROW"),
                ("journal_only_grows", "DELETE", "ROW"),
                ("journal_stays", "TRUNCATE", "STATEMENT"),
            )
        ),
    ),
}

NOTE = f"""
CREATE OR REPLACE FUNCTION journal_note(
    name text, row_key bigint, old_row jsonb, new_row jsonb, about_person bigint, about_group bigint,
    about_application bigint
) RETURNS void LANGUAGE plpgsql AS $ikd$
DECLARE number bigint := nullif(current_setting('ikd.change', true), '')::bigint;
BEGIN
    IF number IS NULL THEN
        number := (random() * 9e15)::bigint;
        PERFORM set_config('ikd.change', number::text, true);
    END IF;
    INSERT INTO {ENTRIES} {_COLUMNS} VALUES (
        clock_timestamp(), number, coalesce(current_setting('ikd.actor', true), ''), name, row_key,
        old_row, new_row, about_person, about_group, about_application, false
    );
END $ikd$
"""  # noqa: S608
"""A PostgreSQL function that writes an entry. All changes of a transaction get the same random number."""


def row_on_sqlite(table: Table, row: str) -> str:
    """Return SQL for the row as JSON."""
    pairs = []
    for column, kind in table.columns.items():
        value = f'{row}."{column}"'
        if kind == TRUTH:
            value = f"json(CASE WHEN {value} THEN 'true' ELSE 'false' END)"
        pairs.append(f"'{column}', {value}")
    return f"json_object({', '.join(pairs)})"


def row_on_postgresql(table: Table, row: str) -> str:
    """Return SQL for the row as JSON."""
    pairs = []
    for column, kind in table.columns.items():
        value = f'{row}."{column}"'
        if kind == MOMENT:
            value = f"to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
            value = f"regexp_replace({value}, '[.]000000$', '')"
        elif kind == UUID:
            value = f"replace({value}::text, '-', '')"
        pairs.append(f"'{column}', {value}")
    return f"jsonb_build_object({', '.join(pairs)})"


def about(table: Table, row: str) -> str:
    """Return SQL for the person, the group and the application of a row."""
    return ", ".join(each.format(row=row) for each in (table.person, table.group, table.application))


def _differs(table: Table, word: str) -> str:
    return " OR ".join(f'OLD."{column}" {word} NEW."{column}"' for column in table.columns)


def for_sqlite(table: Table) -> list[str]:
    """Return the statements that create the triggers of a table."""
    old, new = row_on_sqlite(table, "OLD"), row_on_sqlite(table, "NEW")
    columns = ", ".join(f'"{column}"' for column in table.columns)
    statements = []
    for event, when, row, before, after in (
        ("INSERT", "", "NEW", "NULL", new),
        (f"UPDATE OF {columns}", f"WHEN ({_differs(table, 'IS NOT')}) ", "NEW", old, new),
        ("DELETE", "", "OLD", old, "NULL"),
    ):
        name = f"journal_{table.name}_{event.split()[0].lower()}"
        insert = (
            f"INSERT INTO {ENTRIES} {_COLUMNS} SELECT {NOW_ON_SQLITE}, "  # noqa: S608
            f"(SELECT number FROM {CONTEXT} WHERE id = 1), "
            f"coalesce((SELECT actor FROM {CONTEXT} WHERE id = 1), ''), "
            f"'{table.name}', {row}.{table.key}, {before}, {after}, {about(table, row)}, 0;"
        )
        statements.append(f"DROP TRIGGER IF EXISTS {name}")
        head = f"CREATE TRIGGER {name} AFTER {event} ON {table.name} FOR EACH ROW"
        statements.append(f"{head} {when}BEGIN {insert} END")
    return statements


def for_postgresql(table: Table) -> list[str]:
    """Return the statements that create the triggers of a table, and their function."""
    name = f"journal_{table.name}"
    old, new = row_on_postgresql(table, "OLD"), row_on_postgresql(table, "NEW")

    def note(row: str, before: str, after: str) -> str:
        return f"journal_note('{table.name}', {row}.{table.key}, {before}, {after}, {about(table, row)})"

    body = (
        f"IF TG_OP = 'INSERT' THEN PERFORM {note('NEW', 'NULL', new)}; "
        f"ELSIF TG_OP = 'UPDATE' THEN PERFORM {note('NEW', old, new)}; "
        f"ELSE PERFORM {note('OLD', old, 'NULL')}; END IF; RETURN NULL;"
    )
    each = note("t", row_on_postgresql(table, "t"), "NULL")
    emptied = f"PERFORM {each} FROM {table.name} t; RETURN NULL;"
    columns = ", ".join(f'"{column}"' for column in table.columns)
    triggers = (
        ("insert", "AFTER INSERT", "ROW", "", name),
        (
            "update",
            f"AFTER UPDATE OF {columns}",
            "ROW",
            f" WHEN ({_differs(table, 'IS DISTINCT FROM')})",
            name,
        ),
        ("delete", "AFTER DELETE", "ROW", "", name),
        ("truncate", "BEFORE TRUNCATE", "STATEMENT", "", f"{name}_emptied"),
    )
    return [
        *(
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql "
            f"AS $ikd$ BEGIN {text} END $ikd$"
            for function, text in ((name, body), (f"{name}_emptied", emptied))
        ),
        *(
            f"CREATE OR REPLACE TRIGGER {name}_{event} {sql} ON {table.name} FOR EACH {kind}{when} "
            f"EXECUTE FUNCTION {function}()"
            for event, sql, kind, when, function in triggers
        ),
    ]
