"""Options that belong together are one value: a dataclass with a field for each of them.

A command has a parameter for the whole, whose default is the value without any wish. `expanded` gives the command an
option for each field, in the place of that parameter.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any


def expanded(body: Callable[..., None]) -> Callable[..., None]:
    """``body`` with the options of its groups, and without the groups."""
    own = inspect.signature(body)
    groups = {name: each.default for name, each in own.parameters.items() if _is_group(each.default)}
    if not groups:
        return body
    fields = {group: [field.name for field in dataclasses.fields(default)] for group, default in groups.items()}

    @functools.wraps(body)
    def with_options(*arguments: Any, **given: Any) -> None:
        for group, names in fields.items():
            wanted = {name: given.pop(name) for name in names if name in given}
            given[group] = dataclasses.replace(groups[group], **wanted)
        body(*arguments, **given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if name in groups:
            default = groups[name]
            parameters += [parameter.replace(name=each, default=getattr(default, each)) for each in fields[name]]
        else:
            parameters.append(parameter)
    vars(with_options)["__signature__"] = own.replace(parameters=parameters)
    return with_options


def _is_group(default: object) -> bool:
    return dataclasses.is_dataclass(default) and not isinstance(default, type)
