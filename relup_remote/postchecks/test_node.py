"""The checks. Each is one column of `inv postcheck`, named as the function is."""

from relup_remote.postchecks.node import Node


def test_process(node: Node) -> None:
    """Exactly one VM runs for the root."""
    assert node.vm["pid"] > 0


def test_marker(node: Node) -> None:
    """The next restart boots the target."""
    assert node.marker == node.target, f"the marker says {node.marker}, not {node.target}"


def test_tree(node: Node) -> None:
    """The deployed tree is whole: folders, the VM's files, the release, each of its applications."""
    for folder in ("bin", "lib", f"releases/{node.target}"):
        assert node.host.file(f"{node.tree}/{folder}").is_directory, f"{node.tree}/{folder} is missing"
    for name in ("bin/emqx", "erts-*/bin/beam.smp"):
        found = node.host.run("find %s -path %s", node.tree, f"{node.tree}/{name}")
        assert found.stdout.strip(), f"{node.tree}/{name} is missing"
    specs = node.host.run("find %s -path '*/ebin/*.app'", f"{node.tree}/lib").stdout.split("\n")
    apps = node.release_apps()
    expected = {f"{node.tree}/lib/{name}-{version}/ebin/{name}.app" for name, version in apps.items()}
    missing = sorted(expected - set(specs))
    assert apps, "the release names no application"
    assert not missing, f"files of the release are missing: {', '.join(missing)}"


def test_version(node: Node) -> None:
    """The node says that it runs the target."""
    running = node.eval("emqx_release:version()").strip('"')
    assert running == node.target, f"{running} is running, not {node.target}"


def test_history(node: Node) -> None:
    """The last attempt in the host's history was for the target, and succeeded."""
    attempt = node.attempt()
    assert attempt, "the host has no history"
    assert attempt["result"] == "success", f"the last attempt: {attempt['status']}, {attempt['result']}"
    assert attempt["target_vsn"] == node.target, f"the last attempt was for {attempt['target_vsn']}, not {node.target}"


def test_leftovers(node: Node) -> None:
    """No partial tree, work folder or half-staged tarball is left."""
    left = node.leftovers()
    assert not left, f"left behind: {', '.join(left)}"
