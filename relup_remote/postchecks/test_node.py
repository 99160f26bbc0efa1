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
    for folder in ("bin", "lib", f"releases/{emqx_node.target}"):
        assert emqx_node.host.file(f"{emqx_node.tree}/{folder}").is_directory, f"{emqx_node.tree}/{folder} is missing"
    for name in ("bin/emqx", "erts-*/bin/beam.smp"):
        found = emqx_node.host.run("find %s -maxdepth 3 -path %s", emqx_node.tree, f"{emqx_node.tree}/{name}")
        assert found.stdout.strip(), f"{emqx_node.tree}/{name} is missing"
    specs = emqx_node.host.run("find %s -path '*/ebin/*.app'", f"{emqx_node.tree}/lib").stdout.split("\n")
    apps = emqx_node.release_apps()
    expected = {f"{emqx_node.tree}/lib/{name}-{version}/ebin/{name}.app" for name, version in apps.items()}
    missing = sorted(expected - set(specs))
    assert apps, "the release names no application"
    assert not missing, f"files of the release are missing: {', '.join(missing)}"


def test_boot(emqx_node: Node) -> None:
    """The next start finds the node's configuration, and its release can read it."""
    etc = emqx_node.boot_folder("EMQX_ETC_DIR")
    assert etc, "the release that boots next names no EMQX_ETC_DIR"
    found = emqx_node.host.file(f"{etc}/emqx.conf").is_file
    assert found, f"the next start looks for emqx.conf in {etc}, which has none; verify says what to do"
    read = emqx_node.configuration()
    # Where the wrapper has no command for it nothing is known, and nothing is wrong.
    assert read["status"] in (0, None), f"the release that boots next can't read the configuration: {read['said']}"


def test_version(emqx_node: Node) -> None:
    """The node says that it runs the target."""
    running = emqx_node.version
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
