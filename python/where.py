# SPDX-License-Identifier: BSD-3-Clause
"""where.py PREFIX: print where a package is installed under PREFIX so that this Python finds it.

The result is relative to PREFIX/lib. If this Python looks nowhere there, it is the usual folder.
"""

import os
import sys

top = os.path.join(sys.argv[1], "lib", "")
found = [p[len(top) :] for p in sys.path if p.startswith(top) and p.endswith("-packages")]
print(found[0] if found else "python{}.{}/site-packages".format(*sys.version_info))
