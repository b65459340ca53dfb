"""Tables as text and as HTML: their first rows."""

import math

ROWS = 10
# Of a text; Python's own width for `repr`s of others.
WIDTH = 120
CELL = 36
HTML_COLUMNS = 30


def _head(table, kinds):
    rows, columns = table.num_rows, len(kinds)
    return f"{rows:,} row{'' if rows == 1 else 's'}, {columns} column{'' if columns == 1 else 's'}"


def _cell(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return repr(value) if math.isnan(value) or math.isinf(value) else f"{value:.6g}"
    if hasattr(value, "isoformat"):
        return value.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    text = str(value)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= CELL else text[: CELL - 3] + "..."


def _is_number(kind):
    return kind in ("int64", "float64")


def text(table, kinds):
    """The first rows, cut at the width of a terminal; what is left out is named."""
    names = table.column_names
    rows = [[_cell(value) for value in row.values()] for row in table[:ROWS].to_dicts()]
    columns = [[name, *(row[at] for row in rows)] for at, name in enumerate(map(_cell, names))]
    lines, used, shown = [""] * (len(rows) + 1), 0, 0
    for column, kind in zip(columns, kinds):
        width = max(map(len, column))
        if shown and used + 2 + width > WIDTH:
            break
        gap = "  " if shown else ""
        for at, cell in enumerate(column):
            lines[at] += gap + (cell.rjust(width) if _is_number(kind) else cell.ljust(width))
        used += len(gap) + width
        shown += 1
    out = [f"<runlode.Table: {_head(table, kinds)}>", *(line.rstrip() for line in lines)]
    if table.num_rows > ROWS:
        out.append(f"... and {table.num_rows - ROWS:,} more rows")
    if shown < len(names):
        left = ", ".join(names[shown : shown + 8])
        out.append(f"... and {len(names) - shown} more columns: {left}{', ...' if len(names) > shown + 8 else ''}")
    return "\n".join(out)


def html(table, kinds):
    """The first rows as an HTML table."""
    from html import escape

    names = table.column_names[:HTML_COLUMNS]
    head = "".join(f"<th title='{kind}'>{escape(name)}</th>" for name, kind in zip(names, kinds))
    body = []
    for row in table[:ROWS].to_dicts():
        cells = []
        for name, kind in zip(names, kinds):
            align = " style='text-align:right'" if _is_number(kind) else " style='text-align:left'"
            cells.append(f"<td{align}>{escape(_cell(row[name]))}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    note = _head(table, kinds)
    if table.num_rows > ROWS:
        note += f"; the first {ROWS} rows"
    if len(kinds) > HTML_COLUMNS:
        note += f"; the first {HTML_COLUMNS} columns"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table><p>{note}</p>"
