"""The child process of a Python hook: `python -m runpod_client.hook_process mod:func`.

Reads the hook's JSON document on stdin and calls the function with it. An exception
fails the hook; its text, without the traceback of ours, is the hook's last word.
"""

import importlib
import json
import sys
import traceback


def main(argv: list[str]) -> int:
    """Call the entry point; return the process's exit status."""
    module_name, _, function_name = argv[0].partition(":")
    document = json.load(sys.stdin)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
        function(document)
    except Exception as error:  # noqa: BLE001  # a boundary: the hook is not ours
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
