"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the swap of a restore, and its journal.

What is there is moved aside, and the copies, which are whole and durable by then, take its place: a name at a time,
within one file system. The order keeps the node from being started meanwhile, by whatever it is started, since no
wrapper starts a node without its ``emqx.conf``:

1. the settings are moved aside, ``emqx.conf`` first,
2. the data is moved aside,
3. the copies of the data take its place,
4. the copies of the settings take theirs, ``emqx.conf`` last.

A start that had read ``emqx.conf`` before shows in its processes. They are looked for before each move. If there is
one, or a move fails, all moves are taken back, and nothing was restored.

The journal is the file `FILE` in our folder. It is there before the first move and until after the last::

    {"format": 1, "backup": "<name>", "run": "<run>", "release": "5.10.4", "bytes": 123, "files": 17,
     "places": [{"name": "etc", "path": "/opt/emqx/etc", "names": ["certs", "emqx.conf"], "stays": []},
                {"name": "data", …}]}

`names` are those of the copies. `stays` are names that are not touched, for backups lie there. Where each thing is
follows from the disk alone:

=============  ==============  ===============================================================================
in its place   among copies    a name
=============  ==============  ===============================================================================
yes            yes             the old one is in its place, and is to be moved aside
no             yes             the old one is aside, or never was; the copy is to take its place
yes            no, but named   the copy has taken its place
yes            no, not named   the old one, of which the backup has none, is in its place, or somebody made it
=============  ==============  ===============================================================================

So moves that were cut off can be gone on with, or taken back, from wherever they stopped. Before the first one the node
is what it was, and may be started: then nothing of the swap counts any more.
"""

import errno
import json
import os
import stat
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .. import journal as history
from ..files import private_dir, remove_file, remove_tree, sync_dir, write_whole, writing_failure
from ..opening import open_ours
from ..protocol import Failure
from ..release import BEFORE, CONF, RESTORED
from ..site import OURS

FILE = "restoring"
FORMAT = 1

_MAX_BYTES = 16 << 20


class Place(NamedTuple):
    """A folder that is restored: its `name` in the backup, where it is, and the run that restores it.

    What is called as one of `stays` is not touched.
    """

    name: str
    path: str
    run: str
    stays: Tuple[str, ...] = ()

    @property
    def fresh(self) -> str:
        """Where the copies are until they take their place."""
        return os.path.join(self.path, RESTORED + self.run)

    @property
    def aside(self) -> str:
        """Where what was there is put."""
        return os.path.join(self.path, BEFORE + self.run)

    @property
    def between(self) -> str:
        """Where that is put which somebody made in the place of what was moved."""
        return self.aside + "-since"

    def present(self) -> List[str]:
        """The names of what is there and has to make room, `CONF` first."""
        keep = (OURS, *self.stays)
        names = [name for name in _names(self.path) if name not in keep and not name.startswith((BEFORE, RESTORED))]
        return sorted(names, key=lambda name: (name != CONF, name))

    def copies(self) -> List[str]:
        """The names of the copies that have not taken their place yet, `CONF` last."""
        return sorted(_names(self.fresh), key=lambda name: (name == CONF, name))


def _names(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


class Swap:
    """A swap, as its journal has it: `said` is what the journal says, `places` the settings and the data."""

    def __init__(self, ours: str, said: Dict[str, Any]) -> None:
        self.said = said
        self._file = os.path.join(ours, FILE)
        self._ours = ours
        self._named = {place["name"]: set(place["names"]) for place in said["places"]}
        self.places = [
            Place(place["name"], place["path"], said["run"], tuple(place.get("stays", ()))) for place in said["places"]
        ]

    @property
    def backup(self) -> str:
        """The name of the backup that is put back."""
        return str(self.said["backup"])

    def is_done(self) -> bool:
        """Whether all copies are in their place. The settings' come last, so then all moves are done."""
        if not any(self._named.values()) or any(place.copies() for place in self.places):
            return False
        etc = self.places[0]
        return CONF not in self._named[etc.name] or os.path.lexists(os.path.join(etc.path, CONF))

    def is_broken(self) -> bool:
        """Whether it can't be gone on with: somebody has removed copies that had not taken their place yet."""
        return not self.is_done() and any(
            name not in place.copies() and not os.path.lexists(os.path.join(place.path, name))
            for place in self.places
            for name in self._named[place.name]
        )

    def is_halfway(self) -> bool:
        """Whether some moves are made and some are not. With none made the node is as it was, and may be started."""
        return not self.is_done() and any(self._has_moved(place) for place in self.places)

    def forward(self, look: Callable[[], None]) -> None:
        """Makes the moves that are left; `look` is called before each, and raises where it must not be made."""
        etc, data = self.places
        for place in (etc, data):
            for name in self._old(place):
                look()
                self._aside(place, name)
        for place in (data, etc):
            for name in place.copies():
                look()
                self._in(place, name)
            self._flush(place)

    def back(self) -> None:
        """Takes back all moves that were made."""
        etc, data = self.places
        for place in (data, etc):
            here = set(place.present())
            private_dir(place.fresh)
            for name in sorted(self._named[place.name] & here - set(place.copies())):
                _move(place, name, place.path, place.fresh)
            put_aside = sorted(_names(place.aside), key=lambda name: (name == CONF, name))
            for name in put_aside:
                if os.path.lexists(os.path.join(place.path, name)):
                    private_dir(place.between)
                    _move(place, name, place.path, place.between)
                _move(place, name, place.aside, place.path)
            self._flush(place)

    def end(self) -> None:
        """Removes what only the swap needed, its journal last."""
        for place in self.places:
            remove_tree(place.fresh)
            for folder in (place.aside, place.between):
                try:
                    os.rmdir(folder)
                except OSError:
                    continue
        remove_file(self._file)
        sync_dir(self._ours)

    def put_aside(self) -> List[str]:
        """The folders that hold what was there before."""
        return [place.aside for place in reversed(self.places) if os.path.isdir(place.aside)]

    def _has_moved(self, place: Place) -> bool:
        return bool(_names(place.aside) or _names(place.between) or self._named[place.name] - set(place.copies()))

    def _old(self, place: Place) -> List[str]:
        moved = self._named[place.name] - set(place.copies())
        return [name for name in place.present() if name not in moved]

    def _aside(self, place: Place, name: str) -> None:
        taken = os.path.lexists(os.path.join(place.aside, name))
        _move(place, name, place.path, private_dir(place.between if taken else place.aside))
        if name == CONF:
            # From here on nobody can start the node, also after the machine has lost power.
            self._flush(place)

    def _in(self, place: Place, name: str) -> None:
        if name == CONF:
            self._flush(place)
        if name == OURS:
            self._keep_history(place)
        else:
            _move(place, name, place.fresh, place.path)

    def _keep_history(self, place: Place) -> None:
        """The history that is there knows more than that of the backup; only where there is none, that one goes on."""
        here = os.path.join(place.path, OURS, history.FILE)
        theirs = os.path.join(place.fresh, OURS, history.FILE)
        if os.path.exists(theirs) and not os.path.lexists(here):
            os.rename(theirs, here)
        remove_tree(os.path.join(place.fresh, OURS))

    def _flush(self, place: Place) -> None:
        for folder in (place.aside, place.fresh, place.path):
            if os.path.isdir(folder):
                sync_dir(folder)


def begin(ours: str, said: Dict[str, Any], places: List[Place]) -> Swap:
    """Writes the journal of a swap whose copies are all there; `said` is what it says besides of them.

    Raises `Failure` as `write_whole`.
    """
    told = [
        {"name": place.name, "path": place.path, "names": sorted(place.copies()), "stays": list(place.stays)}
        for place in places
    ]
    whole = dict(said, format=FORMAT, places=told)
    write_whole(os.path.join(ours, FILE), json.dumps(whole, sort_keys=True).encode("utf-8"))
    return Swap(ours, whole)


def unfinished(ours: str) -> Optional[Swap]:
    """The swap that was begun and not ended, or None.

    Raises `Failure` half_restored where its journal can't be read.
    """
    path = os.path.join(ours, FILE)
    try:
        with os.fdopen(open_ours(path, os.O_RDONLY), "rb") as file:
            said = json.loads(file.read(_MAX_BYTES).decode("utf-8"))
        swap = Swap(ours, said) if said["format"] == FORMAT else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        swap = None
    if swap is None or len(swap.places) != 2:
        message = "A restore was cut off, and its journal, {}, can't be read.".format(path)
        hint = "Move that file away. Then restore the node from a backup that you name: `inv restore --backup NAME`."
        raise Failure("half_restored", message, hint=hint, detail={"path": path})
    return swap


def _move(place: Place, name: str, source: str, target: str) -> None:
    path, moved = os.path.join(source, name), os.path.join(target, name)
    try:
        try:
            os.rename(path, moved)
        except PermissionError:
            _move_closed(path, moved)
    except OSError as error:
        raise writing_failure(error, os.path.join(place.path, name))


def _move_closed(path: str, moved: str) -> None:
    """Moves a folder of ours that its own mode keeps from being moved: ``..`` in it changes. Raises `OSError`."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISDIR(mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    os.chmod(path, stat.S_IMODE(mode) | stat.S_IWUSR)
    try:
        os.rename(path, moved)
    except OSError:
        os.chmod(path, stat.S_IMODE(mode))
        raise
    os.chmod(moved, stat.S_IMODE(mode))
