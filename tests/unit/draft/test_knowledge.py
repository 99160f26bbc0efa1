"""What is known of EMQX becomes instructions and questions of a draft, where it applies."""

import pytest

from relup_remote.hops.compare import Difference, Module
from relup_remote.hops.draft import parse
from relup_remote.hops.draft.drafting import draft
from relup_remote.hops.draft.knowledge import TABLE

from .drafts import changes, found, line, questions
from .releases import CHANGE, SERVER, application, between, module, release

LOAD = [("load", 0)]
BPAPI = module("emqx_bpapi", exports=[("announce", 2)])
CONNECTOR = ["emqx_resource"]


def changed(name: str, **facts: object) -> Difference:
    """Releases between which a module's code is another."""
    return between([module(name, **facts)], [module(name, "2", **facts)])  # type: ignore[arg-type]


def driver(app: str, caller: Module) -> Difference:
    """Releases between which a module of an application is another that a module of another application calls."""
    return between([module("eredis", app=app), caller], [module("eredis", "2", app=app), caller])


PROTO = module("emqx_mgmt_proto_v6", app="emqx_management")
USER = module("emqx_redis", app="emqx_redis", behaviours=CONNECTOR, imports=[("eredis", "q", 2)])

APPLIES: dict[str, list[tuple[Difference, str]]] = {
    r"\w+_proto_v[0-9]+": [(between([BPAPI], [BPAPI, PROTO]), "emqx_mgmt_proto_v6 before the next boot?")],
    "emqx_mgmt_cli": [
        (changed("emqx_mgmt_cli", exports=LOAD), "{apply, emqx_mgmt_cli, load, []}"),
        (between([], [module("emqx_mgmt_cli", exports=LOAD)]), "{apply, emqx_mgmt_cli, load, []}"),
    ],
    r"(?!emqx_mgmt_cli$)\w+_cli": [
        (changed("emqx_retainer_cli", exports=LOAD), "commands of emqx ctl in emqx_retainer_cli change?")
    ],
    "behaviour": [(changed("emqx_redis", behaviours=CONNECTOR), "Must connectors of emqx_redis be restarted?")],
    "used_by": [(driver("eredis", USER), "Do connectors hold processes of eredis?")],
}
APPLIES_NOT: list[Difference] = [
    # Nobody to announce it to, an older version, and one that only changed.
    between([], [PROTO]),
    between([BPAPI, PROTO], [BPAPI, PROTO]),
    between([BPAPI, PROTO], [BPAPI, module("emqx_mgmt_proto_v6", "2", app="emqx_management")]),
    # Without load/0, unchanged, or of another name.
    changed("emqx_mgmt_cli"),
    between([module("emqx_mgmt_cli", exports=LOAD)], [module("emqx_mgmt_cli", exports=LOAD)]),
    changed("emqx_client", exports=LOAD),
    # A new connector has no clients yet; a driver nobody calls, of EMQX's own, or only used by what is no connector.
    between([], [module("emqx_redis", behaviours=CONNECTOR)]),
    driver("eredis", module("emqx_redis", app="emqx_redis", behaviours=CONNECTOR)),
    driver("emqx_eredis", USER),
    driver("eredis", module("other", app="other", imports=[("eredis", "q", 2)])),
]


def text(difference: Difference) -> str:
    return " ".join([*questions(difference), *changes(difference)])


@pytest.mark.parametrize("row", APPLIES)
def test_where_a_row_applies(row: str) -> None:
    for difference, part in APPLIES[row]:
        assert part in text(difference)
        assert found(difference) == []


def test_every_row_is_tried_and_has_a_reason() -> None:
    names = [
        row.name if row.name != r"\w+" else next(key for key in ("behaviour", "used_by") if getattr(row, key))
        for row in TABLE
    ]
    assert names == list(APPLIES)
    assert all(row.reason and bool(row.instruction) != bool(row.question) for row in TABLE)


@pytest.mark.parametrize("difference", APPLIES_NOT)
def test_where_none_does(difference: Difference) -> None:
    assert not [row for row in TABLE if row.modules(difference)]


def test_an_instruction_comes_after_all_code_and_before_the_version() -> None:
    difference = changed("emqx_mgmt_cli", exports=LOAD)
    assert changes(difference) == [
        "{load_module, emqx_mgmt_cli}",
        "{apply, emqx_mgmt_cli, load, []}",
        "{load_module, emqx_release}",
    ]
    assert "emqx ctl has a table" in draft(difference).text
    assert line(difference, "{apply, emqx_mgmt_cli")


def test_the_callback_that_a_question_names_is_written() -> None:
    difference = between([BPAPI], [BPAPI, PROTO])
    helper = draft(difference, [parse("announce_apis")]).helper
    assert helper is not None
    assert "announce_apis(_FromVsn) -> emqx_bpapi:announce(node(), emqx).\n" in helper.text
    assert "REVIEW" not in helper.text


@pytest.mark.parametrize("behaviours", [SERVER, ()])
def test_an_update_that_would_find_no_process_is_a_load_and_a_question(behaviours: tuple[str, ...]) -> None:
    def made(version: str, md5: str) -> list[Module]:
        return [module("client", md5, behaviours=behaviours, exports=[CHANGE]), module("started")]

    with_process = between(made("1.0", "1"), made("1.1", "2"))
    assert changes(with_process)[0] == "{update, client, {advanced, []}}"
    without = Difference(
        release("1.0", made("1.0", "1"), unstarted=["client"]), release("1.1", made("1.1", "2"), unstarted=["client"])
    )
    assert changes(without)[0] == "{load_module, client}"
    assert questions(without) == [
        "Who starts the processes of client? No supervisor names it, so an update would find none of them, "
        "and they would keep their old state."
    ]
    # Modules that are stripped of what they say of themselves tell nothing.
    stripped = Difference(
        release("1.0", made("1.0", "1"), unstarted=["client", "started"]), release("1.1", made("1.1", "2"))
    )
    assert changes(stripped)[0] == "{update, client, {advanced, []}}"


@pytest.mark.parametrize("behaviour", ["supervisor", "gen_event"])
def test_supervisors_and_handlers_are_named_elsewhere(behaviour: str) -> None:
    old, new = (
        release(
            version,
            [module("a", md5, behaviours=[behaviour], exports=[CHANGE])],
            [application("emqx", library=True)],
            unstarted=["a"],
        )
        for version, md5 in (("1.0", "1"), ("1.1", "2"))
    )
    assert changes(Difference(old, new))[0] == "{update, a, {advanced, []}}"
