"""The benchmark of the codecs: ``python benchmarks/codecs.py --json out/codecs.json``.

It lies in codec_bytes.py, since a module of the name of one of the standard library's confuses
type checkers.
"""

import sys

from codec_bytes import main

if __name__ == "__main__":
    sys.exit(main())
