"""The command that starts the core on a host: find a Python, become the right user, read the bootstrap from stdin.

Nothing secret is in it, and nothing of it depends on the login shell of the SSH user: it is one line for `sh`.
"""

import json
import shlex
from collections.abc import Sequence

from relup_remote.core.deadline import STARTING

PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(13, 5, -1)), "/usr/libexec/platform-python")
"""Where to look for a Python if the inventory names none. The last one is what Red Hat's own programs run by."""

NO_PYTHON = {"event": "core", "error": {"err_type": "python_missing"}}
"""What the host says when none of them will do."""

SUDO = {"event": "core", "sudo": True}
"""What the host says before sudo asks for a password."""

NO_SUDO = {"event": "core", "sudo": False}
"""What it says instead where none is wanted."""

BECAME = {"event": "core", "became": True}
"""What it says once sudo has let us in."""

HELLO = b"# relup_remote\n"
"""What is sent first, and all that is sent before `SHELL` is heard.

Another shell that reads it, as one that a start-up file runs, takes it for a comment, and so does Python, which reads
it with the bootstrap. An SFTP server takes it for a broken message, and ends; otherwise each would wait for the other.
"""

SHELL = b"relup_remote: sh"
"""The first line of ours: the login shell has run our command."""

# It begins with a line end, for what a login shell's start-up files have said need not end with one.
# What the login shell was told about errors, time and where programs are does not hold for it.
# Its arguments: the user to become or nothing, what to say without a Python, what to say where sudo will ask and where
# it won't, how sudo is to ask, and code that says when it has let us in (all four empty where it may not ask), Python
# code, that code's two arguments, then the names to try. As root the bootstrap itself changes the user. Whether sudo
# asks is tried without what it may remember, which it might forget until it is run.
SCRIPT = """
set +eu;
unset TMOUT;
PATH=${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin;
user=$1 missing=$2 asks=$3 silent=$4 prompt=$5 became=$6 code=$7 digest=$8 size=$9; shift 9;
echo;
echo "relup_remote: sh";
[ -z "$asks" ] || read -r hello;
say() { [ -z "$1" ] || printf "%s\\n" "$1"; };
for name do
  python=$(command -v "$name") || continue;
  case $("$python" --version) in
    "Python 3."[6-9]* | "Python 3."[1-9][0-9]*) ;;
    *) continue ;;
  esac;
  if [ -z "$user" ] || [ "$(id -u)" = 0 ] || [ "$(id -un)" = "$user" ]; then
    say "$silent";
    exec "$python" -I -S -c "$code" "$digest" "$size" "$user";
  fi;
  if [ -n "$asks" ] && ! sudo -k -n -u "$user" -- "$python" --version </dev/null >/dev/null 2>&1; then
    say "$asks";
    exec sudo -k -S -p "$prompt" -u "$user" -- "$python" -I -S -c "$became$code" "$digest" "$size" "$user";
  fi;
  say "$silent";
  exec sudo -n -u "$user" -- "$python" -I -S -c "$code" "$digest" "$size" "$user";
done;
printf "%s\\n" "$missing"
"""


def pythons(named: str | None) -> Sequence[str]:
    """The names under which to look for a Python: the one of the inventory alone, else the usual ones."""
    return (named,) if named else PYTHONS


def command(
    python: str | None, user: str | None, bootstrap: int, digest: str, size: int, prompt: str | None = None
) -> str:
    """The command for a bootstrap of so many bytes, and a core with that digest and size in bytes.

    ``user`` is the one to become; None is the SSH user. `SHELL` is said, and `HELLO` is expected on standard input,
    then the bootstrap. With a ``prompt`` sudo may ask for a password by it, on standard error. Then one of `SUDO` and
    `NO_SUDO` is said. After `SUDO` a line with the password is expected, and the bootstrap only after `BECAME`.
    """
    # Exactly so many bytes: what comes after is for others to read.
    stdin = "io.BufferedReader(io.FileIO(0, closefd=False), 1)"
    # sudo would take the first line for the password, so the shell has read it there.
    size_of_code = bootstrap if prompt is not None else len(HELLO) + bootstrap
    # The alarm ends who waits for a controller that has gone; the core turns it off when it has its request.
    code = f"import io, signal; signal.alarm({STARTING}); exec({stdin}.read({size_of_code}))"
    # A login shell of the csh kind takes no line ends within quotes.
    script = " ".join(line.strip() for line in SCRIPT.splitlines()).strip()
    asking = ["", "", "", ""]
    if prompt is not None:
        asking = [json.dumps(SUDO), json.dumps(NO_SUDO), prompt, f"print({json.dumps(BECAME)!r}, flush=True); "]
    words = ["/bin/sh", "-c", script, "relup", user or "", json.dumps(NO_PYTHON), *asking, code, digest, str(size)]
    return "exec " + shlex.join([*words, *pythons(python)])
