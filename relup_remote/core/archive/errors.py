"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what can be wrong with a tarball."""

from typing import Optional, Union

from ..protocol import Failure


class ArchiveError(Failure):
    """Why a tarball could not be read or unpacked.

    `err_type` is one of

    - ``target_tarball_not_found``  the file can't be opened
    - ``bad_tarball``               damaged, cut short, or of a kind this reader does not know
    - ``unsafe_tarball``            a member leaves the tree, or the tarball is past a limit
    - ``sha256_mismatch``           the file is not the expected one
    - ``disk_full``                 no space, or no quota, for a member
    - ``cannot_write_file``         a member can't be written for another reason

    `reason` is a clause, `member` the name of the member it is about, or that was read last. Names are shown as Python
    writes them, so that no control character of a tarball reaches a terminal.
    """

    def __init__(self, err_type: str, reason: str, member: Optional[str] = None, **detail: Union[int, str]) -> None:
        self.reason = reason
        subject = "The tarball"
        if member is not None:
            subject = "Member {!r}".format(member)
            detail["member"] = repr(member)[1:-1]
        super().__init__(err_type, "{}: {}.".format(subject, reason.rstrip(".")), detail=detail)
