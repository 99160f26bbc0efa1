"""Files of Erlang terms and expressions, valid and not: written by hand, and generated from a seed."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
HOPS = HERE.parents[2] / "priv" / "relup"


def hand_made() -> Iterator[str]:
    """Those written by hand, each a JSON string on a line of its own, and the hops of the catalogue."""
    for line in (HERE / "hand_made.txt").read_text("utf-8").rstrip().split("\n"):
        if not line.startswith("#"):
            yield json.loads(line)
    for path in sorted(HOPS.glob("*.relup")):
        yield path.read_text("utf-8")


_LEAVES = (
    "a",
    "'b c'",
    "emqx_metrics",
    "X",
    "Y",
    "_",
    "1",
    "-2",
    "16#fF",
    "3.25",
    "$c",
    '"text"',
    '"a\\n" "b"',
    "<<>>",
    "<<1, 2:4>>",
    '<<"bin">>',
    "[]",
    "{}",
    "#{}",
    "node()",
    "fun lists:map/2",
    "'packets.received'",
)
_AROUND = (
    "{%s, %s}",
    "[%s, %s]",
    "[%s | %s]",
    "#{%s => %s}",
    "[%s] ++ [%s]",
    "%s ++ %s",
    "(%s)",
    "[{load_module, X} || X <- [%s, %s]]",
    "[X || {X, Y} <- [{%s, %s}, %s]]",
    "begin %s, %s end",
    "case %s of X -> %s end",
    "{%s, %s, %s}",
    "{update, %s, {advanced, %s}}",
    "F(%s)",
    "F([%s, %s])",
    "-%s",
    "%s = %s",
    "<<%s, %s>>",
    "<<(%s)/binary>>",
    "{%s\n,\n%s}",
    "[%s %% said\n, %s]",
    "%s =:= %s",
    "%s andalso %s",
    "length(%s)",
    "fun(X) -> {X, %s} end",
)
_BEFORE = (
    "",
    "",
    "X = 1, ",
    "X = [a, b],\n",
    "F = fun(Y) -> [Y] end,\n",
    "X = a, F = fun(Y) -> [{Y, X}] ++ [Y] end,\n",
    "{X, Y} = {1, [2]}. ",
)


def generated(count: int, seed: int) -> Iterator[str]:
    """Files of expressions that a seed comes to. Some can't be evaluated, and some are broken on purpose."""
    random = Random(seed)
    for _ in range(count):
        text = random.choice(_BEFORE) + _expression(random, random.randrange(5)) + "."
        if random.random() < 0.25:
            at = random.randrange(len(text))
            text = text[:at] + random.choice(("", ",", "]", "\n", "'", ". ", " a ")) + text[at + random.randrange(2) :]
        yield text


def _expression(random: Random, depth: int) -> str:
    if depth == 0:
        return random.choice(_LEAVES)
    shape = random.choice(_AROUND)
    return shape % tuple(_expression(random, random.randrange(depth)) for _ in range(shape.count("%s")))
