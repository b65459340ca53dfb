"""Files of CSV as people have them, for the cases of `enforcement.py`: quotes, BOMs, ends of lines, ragged rows, names twice.

    tables.py SEED COUNT    COUNT files as a Python list, to look at them
"""

import sys

WORDS = ["", "NA", "N/A", "null", "NULL", "None", "none", "nan", "-nan", "NaN", "<NA>", "#N/A", "n/a", "-", "?", "missing", " NA"]
NUMBERS = [
    "0", "1", "-1", "+3", "007", "-0", " 7", "7 ", "\t7", "1.0", "1.50", "2.5", ".5", "5.", "-.5", "1e3", "1E-5", "1e+2", "1e", "e5", "1e400",
    "-1e400", "1e-400", "4.9e-324", "inf", "-Infinity", "+inf", "INF", " inf", "1,234", "1_000", "1 000", "0x10", "1.2.3", "--1", "+-1", "1d5",
    "2147483647", "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616",
    "9007199254740993", "9007199254740993.0", "0.1", "0.30000000000000004", "3.14159265358979", "123456789012345678901234567890", "1.5e308",
    "1.7976931348623159e308", "0.1234567890123456789012345", "2.2250738585072011e-308", "99999999999999999999999.5", "١",
]
TRUTHS = ["true", "false", "True", "False", "TRUE", "FALSE", "tRuE", " true", "true ", "yes", "no", "T", "t", "0", "1", "1.0", "2"]
DATES = ["2024-01-02", "2024-01-02T03:04:05Z", "01/02/2024", "2024", "2 Jan 2024", "12:30"]
TEXTS = ["a", "A b", " lead", "trail ", "é漢😀", "it's", 'say "hi"', "a,b", "two\nlines", "cr\rlf\r\n", '"', '""', "'q'", "\\", "#c", "a;b", "\t", " ", "a\u2028b"]
POOLS = {
    "boolean": ["true", "false", "True", "FALSE", "1", "0"], "integer": ["1", "-7", "0", "12", "2147483647"],
    "long": ["1", "12345678901", "-5"], "float": ["0.5", "1", "-2.25", "1e3"], "double": ["0.1", "1e300", "-3", "2.5", ""],
    "string": TEXTS, "binary": ["AQID", ""], "datetime": DATES,
}
ANY = [WORDS, NUMBERS, NUMBERS, TRUTHS, DATES, TEXTS]


def number(pick):
    """A number with digits by chance."""
    digits = "".join(pick("0123456789") for _ in range(pick(range(1, 25))))
    at = pick(range(len(digits) + 1))
    text = pick(["", "", "-", "+"]) + digits[:at] + pick([".", ".", ""]) + digits[at:]
    return text + (pick("eE") + str(pick(range(-330, 330))) if pick(range(4)) == 0 else "")


def written(maker, field, style):
    """A field as some program writes it."""
    if style == "all" or (style == "some" and maker.chance(0.3)) or (style != "never" and any(c in field for c in ',"\r\n')):
        return '"' + field.replace('"', '""') + '"'
    return field


def table(maker, columns):
    """A file for the columns of a signature."""
    names = [column.get("name", "abc"[at]) for at, column in enumerate(columns)]
    kinds = [column["type"] for column in columns]
    while maker.chance(0.15):
        at = maker.random.randrange(len(names) + 1)
        names.insert(at, maker.pick(["extra", "", "a", "a.1", "b", "é", "two words", "Unnamed: 0", "a,b", 'q"q']))
        kinds.insert(at, maker.pick(list(POOLS)))
    if maker.chance(0.1):
        order = list(range(len(names)))
        maker.random.shuffle(order)
        names, kinds = [names[at] for at in order], [kinds[at] for at in order]
    style = maker.pick(["needed", "needed", "all", "some", "never"])
    end = maker.pick(["\n", "\n", "\r\n", "\r"])
    strange = maker.pick([0.0, 0.0, 0.05, 0.3])
    # Of each column, what it holds: mixed columns are mostly of two kinds.
    pools = [POOLS.get(kind, TEXTS) if maker.chance(0.8) else maker.pick(ANY) for kind in kinds]
    lines = [",".join(written(maker, name, style) for name in names)]
    labels = maker.pick([0] * 12 + [1, 1, 2])
    for row in range(maker.pick([0, 1, 1, 2, 3, 5])):
        fields = [maker.pick(maker.pick(ANY)) for _ in range(labels)] if strange else [f"r{row}", str(row)][:labels]
        for pool in pools:
            field = maker.pick(maker.pick(ANY)) if maker.chance(strange) else maker.pick(pool)
            if pool is NUMBERS and maker.chance(0.3):
                field = number(maker.pick)
            fields.append(field)
        if maker.chance(0.04):
            fields.append(maker.pick(["", "x", "1"]))
        if maker.chance(0.04):
            fields.pop()
        lines.append(",".join(written(maker, field, style) for field in fields))
        if maker.chance(0.05):
            lines.append(maker.pick(["", " ", "\t", " \t ", '""', ",", '" "']))
    text = end.join(lines) + maker.pick([end, end, "", end + end, " "])
    if maker.chance(0.05):
        text = "\ufeff" + text
    if maker.chance(0.03):
        text = maker.pick(["\n", " \n", "\r\n", '"']) + text
    if maker.chance(0.02):
        at = maker.random.randrange(len(text) + 1)
        text = text[:at] + maker.pick(['"', ",", "\n", "\r", " "]) + text[at:]
    return text


def main():
    from enforcement import Maker

    maker = Maker(int(sys.argv[1]))
    print([table(maker, maker.columns(False)) for _ in range(int(sys.argv[2]))])


if __name__ == "__main__":
    main()
