"""Entry point of Lambfold's Python runtime: `python3 -S -u /var/runtime/bootstrap.py`.

Kept tiny on purpose: the main script is compiled at every start (Python never caches it), the package
beside it comes from `__pycache__` when the worker has compiled it once (see README.md).
"""

import os
import sys


def main(environ):
    """Runs the function that `environ` describes; returns only by leaving the process.

    The environment is an argument so that a process started in advance can be given its function later.
    """
    runtime_directory = os.path.dirname(os.path.abspath(__file__))
    # With -I or -P the script's directory is not on the path.
    sys.path.insert(0, runtime_directory)
    from lambfold_runtime import runtime

    runtime.run(environ, runtime_directory)


if __name__ == "__main__":
    main(os.environ)
