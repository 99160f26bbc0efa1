"""The checks. Each is one column of `inv postcheck`, named as the function is."""

from relup_remote.postchecks.node import Node


def test_process(emqx_node: Node) -> None:
    """Exactly one VM runs for the root."""
    assert emqx_node.vm["pid"] > 0


def test_marker(emqx_node: Node) -> None:
    """The next restart boots the target."""
    said = f"the marker says {emqx_node.marker}" if emqx_node.marker else "there is no marker"
    assert emqx_node.boots == emqx_node.target, f"{said}: a restart boots {emqx_node.boots}, not {emqx_node.target}"


def test_tree(emqx_node: Node) -> None:
    """The target's tree is whole: folders, the VM's files, the release, each of its applications."""
    missing = emqx_node.missing()
    assert not missing, f"files of the release are missing: {', '.join(missing)}"


def test_boot(emqx_node: Node) -> None:
    """The next start finds the node's configuration, and its release can read it."""
    etc = emqx_node.boot_folder("EMQX_ETC_DIR")
    assert etc, "the release that boots next names no EMQX_ETC_DIR"
    assert emqx_node.finds_configuration_in(etc), (
        f"the next start looks for emqx.conf in {etc}, which has none; verify says what to do"
    )
    read = emqx_node.configuration()
    # Where the wrapper has no command for it nothing is known, and nothing is wrong.
    assert read["status"] in (0, None), f"the release that boots next can't read the configuration: {read['said']}"


def test_version(emqx_node: Node) -> None:
    """The node says that it runs the target."""
    running = emqx_node.said_version()
    assert running == emqx_node.target, f"{running} is running, not {emqx_node.target}"


def test_history(emqx_node: Node) -> None:
    """The last attempt in the host's history, if there ever was one, was for the target and its hop succeeded.

    One that failed only in its verification or clean-up left nothing undone in the node; the other checks look at that.
    """
    attempt = emqx_node.attempt()
    if attempt:
        target, result = attempt["target_vsn"], attempt["result"]
        is_whole = result == "success" or attempt["stage"] in ("verify", "cleanup")
        assert is_whole, f"the last attempt: {attempt['status']}, {result}"
        assert target == emqx_node.target, f"the last attempt was for {target}, not {emqx_node.target}"


def test_leftovers(emqx_node: Node) -> None:
    """No partial tree, work folder or half-staged tarball is left."""
    left = emqx_node.leftovers()
    assert not left, f"left behind: {', '.join(left)}"
