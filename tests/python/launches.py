"""Projects and launches by chance: what people write in an MLproject file, and what they should not."""
import json
import random

# Scalars as they stand in a file.
SCALARS = [
    "0.1", "1", "-3", "1e-5", "1.0e-5", "0.00006", "1e3", "1.5e+3", "010", "0o17", "0x1f", "1_000", "12:30", "1.50", "-0.0",
    ".5", "+7", ".inf", "-.INF", ".nan", "yes", "No", "on", "OFF", "true", "False", "y", "n", "null", "~", "''", "'~'",
    "2024-01-02", "2024-01-02T03:04:05Z", "2024-01-02 03:04:05", "'2024-01-02'", "adam", "a b", "'it''s'", "\"a\\tb\"",
    "\"\\u00e9\"", "é", "'$HOME'", "'`id`'", "'$(id)'", "'*'", "'a;b'", "'a|b'", "'a&b'", "'>x'", "'#x'", "a#b", "'-x'",
    "--flag", "'a\"b'", "'a\\b'", "\"a\\\\b\"", "'{x}'", "'{'", "'%s'", "'!x'", "'~/x'", "a=b", "'a: b'", "s3://b/k",
    "'http://h/p?q=1&r=2'", "[1, 2]", "[a, 'b c']", "{a: 1}", "[]", "{}", "[1.0, yes, null]", "!!str 5", "!!float 3",
    "12345678901234567890123", "0b11", "1__0", "1.", "08", "1:2:3", "'\t'", "😀", "x" * 300, "100%", "1,5", "1 000", "1e400",
]
# Values of `-P`.
GIVEN = [
    "1", "0.1", "a b", "$HOME", "${HOME}", "`id`", "$(id)", "it's", 'a"b', "a\\b", "*", "?", "[a]", "~", "!x", "a;b", "a|b",
    "a&b", "a&&b", ">x", "<x", "#x", "", " ", "\t", "a\nb", "é", "😀", "{x}", "{", "}}", "%s", "-n", "--flag", "=", "a=b",
    "1e5", "\\n", "\\", "'", '"', "''", "a'b\"c`d$e", "\r", "x" * 2000, "None", "True", "[1, 2]", "a,b", "a:b", "@file", "/",
    ".", "..", "\x7f", "(x)", "a  b ", "^", "$", "$$", "$?", "!!",
]
NAMES = ["lr", "alpha", "n_steps", "learning-rate", "X", "a1", "data_file", "é", "opt.name", "p-1", "_x"]
TYPES = ["float", "string", "int", "integer", "bool", "str", "number", "double"]
# What makes a file a bad one, or only looks as if it did: a change of the text.
ODD = [
    lambda text: text.replace("    command", "\tcommand", 1),
    lambda text: text.replace("entry_points:", "entry_points: []", 1),
    lambda text: text.replace("entry_points:", "entrypoints:", 1),
    lambda text: text.replace("command:", "comand:", 1),
    lambda text: text + "name: again\n",
    lambda text: "# first\n\n---\n" + text,
    lambda text: text + "---\nname: second\n",
    lambda text: "author: [me, you]\nlicense: {x: 1}\n" + text,
    lambda text: text.replace("name: demo", "name: 5", 1),
    lambda text: text.replace("name: demo", "name:", 1),
    lambda text: text.replace("name: demo", "Name: demo", 1),
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("  main:", "  'main':", 1),
    lambda text: text.replace("  main:", "  Main:", 1),
    lambda text: text.replace("  main:", "  main :", 1),
    lambda text: text + "  late:\n    command: echo late\n",
    lambda text: text + "conda_env: conda.yaml\n",
    lambda text: text + "python_env: no.yaml\n",
    lambda text: text + "docker_env:\n",
    lambda text: text.replace("    parameters:", "    params:", 1),
    lambda text: text.replace("    parameters:\n", "    parameters: &all\n", 1),
    lambda text: text.rstrip("\n"),
    lambda text: text + "x: [1, 2\n",
    lambda text: text + "x: {a: 1, a: 2}\n",
    lambda text: text + "? complex\n: key\n",
    lambda text: "",
    lambda text: "- a\n- b\n",
    lambda text: "just text\n",
    lambda text: text + "x: !!python/object:os.system {}\n",
    lambda text: text + "x: *gone\n",
]


class Maker:
    """One launch for each seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def pick(self, items):
        return self.random.choice(items)

    def parameter(self):
        """A parameter's description, and whether a launch must give it."""
        form = self.pick(["type", "default", "default", "both", "both", "lines", "bare"])
        scalar = self.pick(SCALARS)
        is_null = scalar in ("null", "~")
        if form == "type":
            return " " + self.pick(TYPES), True
        if form == "default":
            return f" {{default: {scalar}}}", is_null
        if form == "both":
            return f" {{type: {self.pick(TYPES)}, default: {scalar}}}", is_null
        if form == "lines":
            return f"\n        type: {self.pick(TYPES)}\n        default: {scalar}", is_null
        return f" {{type: {self.pick(TYPES)}}}", True

    def command(self, names):
        """A command with these parameters, none of them between quotes."""
        words = []
        for name in names:
            form = self.pick(["{%s}", "--%s {%s}", "--%s={%s}", "{%s},x", "x{%s}", "-o {%s}", "{%s} {%s}"])
            words.append(form.replace("%s", name))
        self.random.shuffle(words)
        joint = self.pick([" ", " ", "  "])
        line = "python seen.py " + joint.join(words)
        line += self.pick(["", "", "", " && python seen.py second", " | cat", " > out.txt", " 2>&1", "; exit 3", " || true"])
        form = self.pick(["plain", "double", "single", "block", "folded", "broken"])
        if form == "double":
            return " " + json.dumps(line)
        if form == "single":
            return " '" + line.replace("'", "''") + "'"
        if form == "block":
            return " |\n      " + line
        if form == "folded":
            return " >\n      " + line.replace(" ", "\n      ", 2)
        if form == "broken":
            return " |\n      " + line.replace(" ", " \\\n        ", 1)
        return " " + line

    def launch(self):
        """The text of the file, or None, and the arguments of a launch."""
        if self.chance(0.06):
            script = self.pick(["seen.py", "more/seen.py", "run.sh", "gone.py", "run.sh ", "seen"])
            self.has_extras = True
            return None, ["-e", script, *self.given([], [])]
        names = self.random.sample(NAMES, self.random.randint(0, 4))
        described = {name: self.parameter() for name in names}
        text = "name: demo\nentry_points:\n  main:\n"
        if names:
            text += "    parameters:\n" + "".join(f"      {name}:{form}\n" for name, (form, _) in described.items())
        text += f"    command:{self.command(names)}\n"
        if self.chance(0.15):
            text += "  other:\n    parameters: {x: {default: 2}}\n    command: python seen.py other {x}\n"
        if self.chance(0.25):
            text = self.pick(ODD)(text)
        # MLflow puts what is not declared on a line of its own behind a block, where it is a command.
        self.has_extras = "command: |" not in text and "command: >" not in text
        needed = [name for name, (_, is_needed) in described.items() if is_needed]
        arguments = self.given(needed, names)
        if self.chance(0.12):
            arguments += ["-e", self.pick(["other", "main", "seen.py", "gone", "Main"])]
        return text, arguments

    def given(self, needed, names):
        values = {name: self.pick(GIVEN) for name in needed if not self.chance(0.05)}
        values.update({name: self.pick(GIVEN) for name in names if self.chance(0.3)})
        if self.chance(0.15) and self.has_extras:
            values[self.pick(["extra", "n", "a-b", "a.b", "a b", "é"])] = self.pick(GIVEN)
        return [part for name, value in values.items() for part in ("-P", f"{name}={value}")]
