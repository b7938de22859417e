# SPDX-License-Identifier: BSD-3-Clause
"""Print a C program that fails to compile when a ctypes structure is not that of the header."""

import ctypes

from mapalloc import _map, mmalloc, qalloc, shmbuddy

# A structure, and its name in C.
STRUCTURES = [
    (structure, f"struct {module.__name__.split('.')[1]}_{name}")
    for module in (qalloc, mmalloc, shmbuddy)
    for structure, name in (
        (module._Stats, "stats"),
        (module._Options, "options"),
        (_map._Opening, "opening"),
    )
]

print("#include <mmalloc.h>\n#include <qalloc.h>\n#include <shmbuddy.h>")
for structure, name in STRUCTURES:
    print(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(structure)}, "{name}");')
    for member, _ in structure._fields_:
        field = getattr(structure, member)
        print(f'_Static_assert(offsetof({name}, {member}) == {field.offset}, "{member}");')
        size = f"sizeof((({name} *)0)->{member})"
        print(f'_Static_assert({size} == {field.size}, "{member}");')
