"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what a hop's file may call.

A hop's file is an Erlang script. It is evaluated in the VM of a broker at work, by a command that promises to change
nothing. So only what is listed here may be called meanwhile: it depends on its arguments alone, or reads what a hop may
want to know; it changes nothing, waits for nothing, and makes no atoms. What a hop is to *do* are its instructions and
callbacks, which may call anything; only to say which they are does a file need these.

``erlang:system_info/1`` is not: asked for ``procs`` or ``info`` it stops the VM until it has written all processes out.

Functions that take a function are listed as well: one of the file's own is evaluated like the rest of the file, and one
that is named (``fun M:F/A``) has to be listed itself.
"""

from typing import Dict, Iterator, List, Tuple

Call = Tuple[str, str, int]

HARMLESS: Dict[str, str] = {
    "erlang": """
        node/0 system_time/0 system_time/1 monotonic_time/0 monotonic_time/1 function_exported/3 module_loaded/1
        abs/1 adler32/1 atom_to_binary/1 atom_to_binary/2 atom_to_list/1 binary_part/2 binary_part/3
        binary_to_existing_atom/1 binary_to_existing_atom/2 binary_to_float/1 binary_to_integer/1 binary_to_integer/2
        binary_to_list/1 binary_to_list/3 bit_size/1 bitstring_to_list/1 byte_size/1 ceil/1 crc32/1 delete_element/2
        element/2 error/1 error/2 exit/1 float/1 float_to_binary/1 float_to_binary/2 float_to_list/1 float_to_list/2
        floor/1 fun_info/2 hd/1 insert_element/3 integer_to_binary/1 integer_to_binary/2 integer_to_list/1
        integer_to_list/2 iolist_size/1 iolist_to_binary/1 is_atom/1 is_binary/1 is_bitstring/1 is_boolean/1 is_float/1
        is_function/1 is_function/2 is_integer/1 is_list/1 is_map/1 is_map_key/2 is_number/1 is_pid/1 is_port/1
        is_record/2 is_record/3 is_reference/1 is_tuple/1 length/1 list_to_binary/1 list_to_bitstring/1
        list_to_existing_atom/1 list_to_float/1 list_to_integer/1 list_to_integer/2 list_to_tuple/1 make_tuple/2
        map_get/2 map_size/1 max/2 md5/1 min/2 phash2/1 phash2/2 raise/3 round/1 setelement/3 size/1 split_binary/2
        throw/1 tl/1 trunc/1 tuple_size/1 tuple_to_list/1
        +/1 -/1 not/1 bnot/1 +/2 -/2 */2 //2 div/2 rem/2 band/2 bor/2 bxor/2 bsl/2 bsr/2 and/2 or/2 xor/2 ++/2 --/2
        ==/2 /=/2 =</2 </2 >=/2 >/2 =:=/2 =/=/2
        """,
    "lists": """
        all/2 any/2 append/1 append/2 concat/1 delete/2 dropwhile/2 duplicate/2 enumerate/1 enumerate/2 filter/2
        filtermap/2 flatlength/1 flatmap/2 flatten/1 flatten/2 foldl/3 foldr/3 foreach/2 join/2 keydelete/3 keyfind/3
        keymap/3 keymember/3 keymerge/3 keyreplace/4 keysearch/3 keysort/2 keystore/4 keytake/3 last/1 map/2 mapfoldl/3
        mapfoldr/3 max/1 member/2 merge/1 merge/2 min/1 nth/2 nthtail/2 partition/2 prefix/2 reverse/1 reverse/2
        search/2 seq/2 seq/3 sort/1 sort/2 split/2 splitwith/2 sublist/2 sublist/3 subtract/2 suffix/2 sum/1
        takewhile/2 ukeymerge/3 ukeysort/2 umerge/1 umerge/2 unzip/1 unzip3/1 usort/1 usort/2 zip/2 zip3/3 zipwith/3
        """,
    "maps": """
        filter/2 filtermap/2 find/2 fold/3 foreach/2 from_keys/2 from_list/1 get/2 get/3 groups_from_list/2
        groups_from_list/3 is_key/2 keys/1 map/2 merge/2 merge_with/3 new/0 put/3 remove/2 size/1 to_list/1 update/3
        update_with/3 update_with/4 values/1 with/2 without/2
        """,
    "proplists": "delete/2 get_all_values/2 get_bool/2 get_value/2 get_value/3 is_defined/2 lookup/2 to_map/1",
    "sets": "add_element/2 from_list/1 is_element/2 new/0 subtract/2 to_list/1 union/2",
    "ordsets": "add_element/2 from_list/1 is_element/2 new/0 subtract/2 to_list/1 union/2",
    "string": """
        concat/2 equal/2 find/2 join/2 length/1 lexemes/2 lowercase/1 prefix/2 replace/3 replace/4 reverse/1 slice/2
        slice/3 split/2 split/3 to_integer/1 trim/1 trim/2 trim/3 uppercase/1
        """,
    "binary": "at/2 first/1 last/1 match/2 matches/2 part/2 part/3 replace/3 replace/4 split/2 split/3",
    "unicode": "characters_to_binary/1 characters_to_list/1",
    "io_lib": "format/2",
    "math": "ceil/1 floor/1 log2/1 pow/2 sqrt/1",
    "calendar": "datetime_to_gregorian_seconds/1 system_time_to_rfc3339/1 system_time_to_rfc3339/2",
    "os": "system_time/0 system_time/1",
    "filename": "basename/1 basename/2 dirname/1 extension/1 join/1 join/2 rootname/1",
    "application": "get_key/2",
    "code": "is_loaded/1",
}
"""The functions of each module, as ``name/arity``."""


def harmless() -> Iterator[Call]:
    """All of them."""
    for module, names in HARMLESS.items():
        for name in names.split():
            function, _, arity = name.rpartition("/")
            yield module, function, int(arity)


def allowed(more: str) -> List[Call]:
    """The harmless ones, and those of an operator's: ``module:function/arity``, with commas between them.

    Raises `ValueError`, naming the first that is of another form.
    """
    found = list(harmless())
    for call in filter(None, (each.strip() for each in more.split(","))):
        module, colon, rest = call.partition(":")
        function, _, arity = rest.rpartition("/")
        if not (module and colon and function and arity.isdigit()):
            raise ValueError(call)
        found.append((module, function, int(arity)))
    return found


def as_term(calls: List[Call]) -> List[Tuple[bytes, bytes, int]]:
    """Calls as the agent takes them. Names are binaries, for an atom stays in a VM for good."""
    return [(module.encode("utf-8"), function.encode("utf-8"), arity) for module, function, arity in calls]
