"""Payload, shipped to hosts (Python 3.6 and up, standard library only): reading the request.

Its form is told in `protocol`. What is not of that form is refused before anything is done with it, names that would
lead out of a folder above all.
"""

import json
import re
from typing import Any, BinaryIO, Callable, Dict

from .protocol import COMMANDS, OPTIONS, PROTOCOL_VERSION, Failure
from .release import VERSION

_MAX_BYTES = 64 << 20

Check = Callable[[Any], bool]


def read_request(stdin: BinaryIO) -> Dict[str, Any]:
    """The request in the first line of `stdin`. Raises `Failure` bad_request, protocol_mismatch."""
    line = stdin.readline(_MAX_BYTES)
    if len(line) == _MAX_BYTES:
        raise Failure("bad_request", "The request is longer than {} bytes: use a smaller catalogue.".format(_MAX_BYTES))
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Failure("bad_request", "The request is not a line of JSON.")
    if not isinstance(request, dict) or request.get("protocol") != PROTOCOL_VERSION:
        spoken = request.get("protocol") if isinstance(request, dict) else None
        detail = {"core": PROTOCOL_VERSION, "controller": spoken}
        raise Failure("protocol_mismatch", detail=detail)
    wrong = [name for name, fits in _FIELDS.items() if not fits(request.get(name))]
    if wrong:
        raise Failure("bad_request", detail={"wrong": wrong})
    return request


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_content(value: Any) -> bool:
    return isinstance(value, str)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 10**9


def _is_file_name(value: Any) -> bool:
    return _is_text(value) and "/" not in value and value not in ("", ".", "..")


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and VERSION.fullmatch(value) is not None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_base64(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z+/]*={0,2}", value) is not None and len(value) % 4 == 0


def _is_option_set(value: Any) -> bool:
    # An int may stand for a float, and the other way round, but neither for a bool.
    kinds: Dict[type, Any] = {bool: bool, str: str, int: (int, float), float: (int, float)}
    return isinstance(value, dict) and all(
        isinstance(item, kinds[type(OPTIONS[name][0])]) and isinstance(item, bool) == isinstance(OPTIONS[name][0], bool)
        for name, item in value.items()
        if name in OPTIONS
    )


def _is_release(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if "error" in value:
        return isinstance(value["error"], dict)
    return _is_version(value.get("version")) and _is_content(value.get("emqx_vars", ""))


def _optional(fits: Check) -> Check:
    return lambda value: value is None or fits(value)


def _object(**fields: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(fits(value.get(name)) for name, fits in fields.items())


def _list(fits: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _is_helper(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_file_name(value.get("file")):
        return False
    return _is_base64(value.get("code")) if value["file"].endswith(".beam") else _is_content(value.get("text"))


_HOP: Dict[str, Check] = {"file": _is_file_name, "from": _is_text, "target": _is_text, "text": _is_content}

_FIELDS: Dict[str, Check] = {
    "command": lambda value: isinstance(value, str) and value in COMMANDS,
    # It becomes a part of folder names.
    "run": lambda value: _is_file_name(value) and len(value) <= 100,
    "operator": _is_text,
    "node": _object(
        **dict.fromkeys(("root_dir", "name", "data_dir", "staging_dir", "backup_dir"), _optional(_is_text))
    ),
    "tarball": _optional(
        _object(
            name=_is_file_name,
            bytes=_is_size,
            sha256=_is_digest,
            sidecar=_object(status=_is_text, text=_is_content),
            release=_is_release,
        )
    ),
    "target": _optional(_is_text),
    "hop_value": _optional(_object(sha256=_is_digest, term=_is_base64)),
    "hops": _optional(_list(_object(**_HOP))),
    "paths": _optional(_list(_object(**{"from": _is_text, "target": _is_text}))),
    "helpers": _optional(_list(_is_helper)),
    "options": _optional(_is_option_set),
    "machine": _optional(_object(id=_optional(_is_text), boot=_optional(_is_text))),
    "deadline": _optional(_is_time),
}
"""The fields of a request, and what each has to be."""
