"""Files of the operator's: their modes are decided in one place, and reports are nobody else's."""

import ast
from pathlib import Path

import pytest

import relup_remote
from relup_remote import files

PACKAGE = Path(relup_remote.__file__).parent
ELSEWHERE = ("core/", "files.py", "docs.py", "host/bootstrap.py", "inventory/ansible.py")
"""On hosts; the place itself; the pages of this project, written by who works on it; a temporary folder."""


def writes(path: Path) -> list[int]:
    """The lines of a file in which another file is made."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = [each.value for each in node.args if isinstance(each, ast.Constant)]
        opens = name == "open" and any(isinstance(word, str) and word[:1] in ("w", "a", "x") for word in words)
        makes = name == "open" and "O_CREAT" in ast.unparse(node)
        if opens or makes or name in ("write_text", "write_bytes", "write_whole", "touch", "chmod"):
            found.append(node.lineno)
    return found


def test_no_other_place_decides_on_a_mode() -> None:
    found = {
        name: lines
        for path in PACKAGE.rglob("*.py")
        if not (name := str(path.relative_to(PACKAGE))).startswith(ELSEWHERE) and (lines := writes(path))
    }
    assert found == {}


def test_the_look_at_the_code_sees_what_makes_files(tmp_path: Path) -> None:
    file = tmp_path / "makes.py"
    file.write_text("p.write_text(x)\nopen(p, 'w')\nos.open(p, os.O_CREAT)\nopen(p)\nopen(p, 'rb')\n")
    assert writes(file) == [1, 2, 3]


def test_private_files_are_private_and_shared_ones_are_not(tmp_path: Path) -> None:
    files.write_private(tmp_path / "report.html", "x")
    files.write_shared(tmp_path / "hop.relup", "x")
    files.private_folder(tmp_path / "state" / "runs")
    with files.append_private(tmp_path / "events") as file:
        file.write("x")
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"report.html": 0o600, "hop.relup": 0o644, "state": 0o700, "state/runs": 0o700, "events": 0o600}


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        files.append_private(tmp_path / "link")
