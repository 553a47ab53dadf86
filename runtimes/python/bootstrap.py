"""Entry point of Lambfold's Python runtime: `python3 -S -u /var/runtime/bootstrap.py [wait]`.

Kept tiny on purpose: the main script is compiled at every start (Python never caches it), the package
beside it comes from `__pycache__` when the worker has compiled it once (see README.md).
"""

import os
import sys


def main(environ, wait):
    """Runs the function that `environ` describes; returns only by leaving the process.

    With `wait` the process has been started in advance, and gets its function when there is one.
    """
    runtime_directory = os.path.dirname(os.path.abspath(__file__))
    # With -I or -P the script's directory is not on the path.
    sys.path.insert(0, runtime_directory)
    from lambfold_runtime import runtime

    client = None
    if wait:
        from lambfold_runtime import waiting

        client = waiting.wait(environ)
    runtime.run(environ, runtime_directory, client)


if __name__ == "__main__":
    main(os.environ, sys.argv[1:] == ["wait"])
