"""The application that hops: two releases of 300 modules of a real release's size, and of a pool of processes.

Each release is compiled once, module after module, and kept below the lab's state folder by the digest of its sources.
"""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.layout import state_dir
from relup_remote.core.archive import FILE, Member
from relup_remote.hops.code import Boot, Code

SOURCES = Path(__file__).parent / "erl"
MODULES = 300
RELEASES = (1, 2)

_KEYS = '{application, bench, [{vsn, "%d"}, {modules, [%s]}, {registered, []}, {mod, {bench_app, []}}]}.\n'

_HEAD = """
-module({name}).
-export([release/0, version/0, handle/2]).
release() -> {release}.
version() -> "{release}.0".
handle(Kind, Message) -> step_0(Kind, Message, #{{seen => 0, module => ?MODULE}}).
"""

# What a broker's modules are made of: maps and binaries taken apart, lists gone through, clauses by the dozen.
_STEP = """
step_{n}(connect, #{{id := Id, flags := <<Clean:1, Will:1, Qos:2, Rest:4>>}} = Message, State) when Id =/= <<>> ->
    Props = maps:get(properties, Message, #{{}}),
    case {{Clean, Will, Qos}} of
        {{1, 0, _}} -> {{ok, State#{{id => Id, rest => Rest, expiry_{n} => maps:get(expiry, Props, {a})}}}};
        {{0, 1, Q}} when Q < 3 -> step_{next}(publish, Message#{{topic => <<"will/{n}/", Id/binary>>}}, State);
        {{_, _, Q}} -> {{error, {{malformed_{n}, Q, [K || {{K, V}} <- maps:to_list(Props), V > {b}]}}}}
    end;
step_{n}(publish, #{{topic := Topic, payload := Payload}}, #{{seen := Seen}} = State) ->
    Words = binary:split(Topic, <<"/">>, [global]),
    Count = fun(<<"+">>, {{N, Acc}}) -> {{N + {a}, Acc}}; (Word, {{N, Acc}}) -> {{N, [Word | Acc]}} end,
    case lists:foldl(Count, {{0, []}}, Words) of
        {{0, Parts}} -> {{ok, State#{{seen := Seen + byte_size(Payload), last_{n} => lists:reverse(Parts)}}}};
        {{Wild, _}} when Wild > {b} -> {{error, {{wildcards_{n}, Wild}}}};
        {{_, [<<"$share">>, Group | Filter]}} -> step_{next}(subscribe, #{{group => Group, filter => Filter}}, State)
    end;
step_{n}(Kind, Message, State) -> step_{next}(Kind, Message, State#{{skipped_{n} => {{Kind, {a}, "{text}"}}}}).
"""

_TAIL = """
step_{n}(Kind, _, State) -> {{ignored, Kind, State}}.
"""


@dataclass(frozen=True)
class Release:
    """A release as it is deployed: its number, its tree, and the facts that go along with a hop to it."""

    number: int
    tree: Path
    facts: bytes

    @property
    def version(self) -> str:
        """The version that a hop's file names."""
        return f"{self.number}.0"

    @property
    def ebin(self) -> Path:
        """Where all of its modules are."""
        return self.tree / "lib" / f"bench-{self.number}" / "ebin"

    @property
    def source(self) -> Path:
        """The source of one of the largest of them."""
        return self.tree / "src" / f"{module_names()[10]}.erl"


def module_names() -> list[str]:
    """The modules that a hop of modules replaces."""
    return ["emqx_release", *(f"bench_rules_{number:03}" for number in range(1, MODULES))]


def build() -> dict[int, Release]:
    """Both releases by their numbers, compiled unless they are there already."""
    found = {}
    for number in RELEASES:
        sources = {name: _source(name, number, at) for at, name in enumerate(module_names())}
        sources |= {path.stem: path.read_text() for path in SOURCES.glob("bench_[aw]*.erl")}
        found[number] = _built(number, sources)
    return found


def build_tools() -> Path:
    """The folder with the modules that measure, which belong to no release."""
    return _compiled({path.stem: path.read_text() for path in SOURCES.glob("bench_[!aw]*.erl")}, 0, Path())


def _source(name: str, release: int, at: int) -> str:
    # Between a few functions and a few dozen, as sizes are spread in a real release: most are small.
    steps = 2 + (at * 7 % 20) + (40 if at % 10 == 0 else 0)
    parts = [
        _STEP.format(n=n, next=n + 1, a=(at + 3) * (n + 7) % 997, b=n % 11, text=f"{name} at {n}") for n in range(steps)
    ]
    return _HEAD.format(name=name, release=release) + "".join(parts) + _TAIL.format(n=steps)


def _built(number: int, sources: dict[str, str]) -> Release:
    tree = _compiled(sources, number, Path("lib") / f"bench-{number}" / "ebin")
    keys = tree / "lib" / f"bench-{number}" / "ebin" / "bench.app"
    keys.write_text(_KEYS % (number, ", ".join(sorted(sources))))
    code = Code()
    for path in sorted(tree.glob("lib/*/ebin/*")):
        code.visit(Member(str(path.relative_to(tree)), FILE, 0o644, path.stat().st_size, ""), path.read_bytes)
    return Release(number, tree, code.term(Boot("", frozenset())))


def _compiled(sources: dict[str, str], release: int, where: Path) -> Path:
    """The folder that holds the compiled modules at `where`; it is named by what they are compiled from."""
    digest = hashlib.sha256(repr((sorted(sources.items()), release)).encode()).hexdigest()[:16]
    folder = state_dir() / "bench" / f"hop-{release}-{digest}"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        (part / "src").mkdir(parents=True)
        (part / where).mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (part / "src" / f"{name}.erl").write_text(text)
        files = [str(part / "src" / f"{name}.erl") for name in sources]
        subprocess.run(["erlc", "+debug_info", f"-DRELEASE={release}", "-o", str(part / where), *files], check=True)
        part.rename(folder)
    return folder
