"""Makes yaml.txt: what PyYAML's safe loader and Python's str() make of a text. Run: python make_yaml.py > yaml.txt

Not among the sources, since the loaders differ and no project file has them: other line breaks than those of files (U+0085,
U+2028), a tab at the beginning of a quoted text's second line, sets and ordered maps, lists that contain themselves."""

import yaml

SOURCES = r"""
1e-5|1.0e-5|1e+5|1.e+5|1.5e3|0.00006|0.0001|0.00001|1e16|1.0e+15|1.0e+16|123456789012345678.0|1.50|.5|-.5|+.5|-0.0|1_000|1_000.5|_1|1__0|1_|0_1
010|0o10|08|09|0|-0|+5|-5|0x1F|0xff_ff|-0x10|0x|0b101|-0b11|0b_|0b2|12:30|12:30:45|190:20:30|-1:30|1:60|12:30.5|01:30|1:2:3:4
123456789012345678901234567890|0xffffffffffffffffffffffff|999999999999999999:59|0777777777777777777777777
.inf|-.inf|+.inf|.Inf|.INF|.iNf|.nan|.NaN|.NAN|-.nan|inf|nan|Infinity|1.0e400|-1.0e400|5.0e-324|2.2250738585072014e-308|0.1|100.0|1.7976931348623157e+308
yes|Yes|YES|yEs|no|on|off|On|OFF|true|TRUE|false|False|y|n|Y|N|t|tRue
null|Null|NULL|~|nULL|None|none|""|''|" "|'yes'|"1.0"|'0.10'
2024-01-02|2024-1-2|2024-01-02 03:04:05|2024-01-02T03:04:05|2024-01-02t3:04:05.6|2024-01-02 03:04:05.123456789|2024-01-02 03:04:05Z|2024-01-02 03:04:05 +02:00
2024-01-02 03:04:05-05:30|2024-01-02 03:04:05+0|2024-01-02 03:04:05 +25|2024-13-01|2024-02-30|0000-01-01|2024-01-02 24:00:00|2024-01-02 03:04:05-00:30|2024-01-02T03:04
[1, 2]|[1.50, yes, null]|[a, 'b c', "it's", 'say "hi"', "it's \"x\""]|{a: 1}|{a: 1, b: [x, {c: ~}]}|[]|{}|[2024-01-02]|[2024-01-02 03:04:05]|[2024-01-02 03:04:00.5Z]
[2024-01-02 03:04:05-05:00]|[2024-01-02 03:04:05+02:30]|["a\nb\tc\\d"]|["\x01\x7f\xa0\u2028\u200b\U0001F600é"]|{on: 1, 1: 2, 1.0: 3, true: 4}|{a: 1, a: 2, b: 3}|{1: a, '1': b}|{[1]: a}|{? a : b}
!!str 5|!!int "5"|!!float 5|!!float "x"|!!bool "yes"|!!bool x|!!null x|!!binary aGVsbG8=|[!!binary aGVsbG8=]|[!!binary "AP8nIg=="]|!!python/object:os.system x|!foo x|! 5|!!timestamp 2024-01-02|!!int 0x10|!!seq [1]|!!map {a: 1}
a: &x 1\nb: *x|a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n  r: 4|a: {<<: [{p: 1}, {p: 2, q: 3}]}|a: {<<: 5}|a: *missing|=|a: =|{=: 1}|<<|[<<]
a: |\n  line\n    more\n|a: >\n  folded\n  text\n\n  next\n|a: >\n  one\n    two\n  three\n|a: |-\n  x\n|a: |+\n  x\n\n|a: >-\n  x\n  y\n|a: 'it''s'|a: "\u00e9 \x41 \\"|a: plain text # comment|a: b: c|a:1|- a\n- b|--- x|x\n---\ny|a: 'multi\n  line'
- 5 # five|'%a'|%a|@a|`a|a@b|a#b|'#a'|a: [1,2\n|a: "x|a:\n\tb: 1|a:\n  b: 1\n\tc: 2|a:\n  - 1\n\t- 2|a:\tx\n|a: x\n\ty|a:\tb|{a, b}|{a:1}|[a: 1, b]|{a: , b: 2}|a: {type:int, default: 3}|? a\n: b|"\u263a"|héllo|- - 1\n  - 2|a: -1|a: - 1|a: !|a: !!str|key with spaces: v|"quoted key": v|5: v|1.5: v|~: v|2024-01-02: v
x: [1,\n2]|x: {\na: 1\n}\nb: 2|x:\n  y: "one\ntwo"\n  z: 1|x:\n  y: 'one\n\n two'|x:\n  y: ["a\nb", 'c\nd',\n{e: f}]|x:\n  y:\nz: [|x:\n    y: 1\n  z: 2|x:\n  "a" b
a\t: 1|a:\t1|a:\t\n  b: 1|a: 1\t# c|a: 1 # c\td|\t\na: 1|a: "x\ty"|a: x\ty|[1,\t2]|{a:\t1}|# c\td\na: 1|- a\n\t\n- b|a: |\n  x\ty\nb: 1|a: "x" #\ty|a: b#\tc
{a: http://h/p?q}|[x?y]|{a: ?x}|{a: ::x}|{a: |x}|a: >x|{a: >x}|a: x?y|{? a : b}|{"a?b": c}|[&q a, *q]|{a: "?"}|[":a"]
a: &x 1\nb: &x 2|a: &x 1\nb: &y 2|a: !!str &x 1\nb: &x !!int 2|&x a: 1\n&x b: 2|a: &x [1]\nb: &x {c: d}
%YAML 1.1\n---\na: 1|%YAML 1.2\n---\na: 1|%YAML 2.0\n---\na: 1|: 1|{: 1}|a: 1\n: 2|? \n: 1|!!int 0o17|!!int 0O17|!<tag:yaml.org,2002:str> 1|!<tag:yaml.org,2002:int> "7"|!<tag:yaml.org,2002:seq> [1]|!<x> 1
"""


def main():
    print(f"# PyYAML {yaml.__version__}; made by make_yaml.py. Source => str() of the value; \\n is a line break, refused an error.")
    for line in SOURCES.strip().split("\n"):
        # A bar separates sources, but not in a block scalar.
        for source in line.replace("a: |", "a: \0").split("|"):
            source = source.replace("\0", "|").strip(" ")
            text = source.replace("\\n", "\n").replace("\\t", "\t")
            try:
                value = str(yaml.safe_load(text))
                value.encode()
            except Exception:
                value = "refused"
            print(source, "=>", value.replace("\n", "\\n").replace("\t", "\\t"))


main()
