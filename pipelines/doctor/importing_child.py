"""The process that imports: ``python -P importing_child.py MODULE...`` prints a JSON object a module.

{"MODULE": ""} where it can be imported, else the error. Whatever the modules print goes to stderr.
"""

import importlib
import json
import os
import sys


def main() -> None:
    tell = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        try:
            importlib.import_module(name)
            error = ""
        except Exception as raised:  # a package may raise anything
            first = str(raised).strip().partition("\n")[0]
            error = f"{type(raised).__name__}: {first}"
        print(json.dumps({name: error}), file=tell, flush=True)
    # Without the exit handlers of what was imported: they are not what is asked about.
    os._exit(0)


if __name__ == "__main__":
    main()
