"""What SnapStart functions do around a snapshot. None is taken here: the hooks run one after the other in every
environment, so that what a function does in them is done."""

import sys

from lambfold_runtime.fault import AFTER_RESTORE_ERROR, BEFORE_SNAPSHOT_ERROR

# As AWS's runtime leaves.
_BEFORE_SNAPSHOT_FAILED = 64
_AFTER_RESTORE_FAILED = 65


def run_hooks(client, report):
    """Runs what user code has registered. `report` logs an error and makes the body of its report, in which its class
    stands; that a hook failed is the type of the report, also if the hook meant to end the process."""
    # Whoever registers hooks has imported the module, perhaps one of their own.
    hooks = sys.modules.get("snapshot_restore_py")
    try:
        # The last one first, as AWS does.
        for func, args, kwargs in reversed(hooks.get_before_snapshot() if hooks else []):
            func(*args, **kwargs)
    except BaseException as error:
        client.post_init_error(report(error), BEFORE_SNAPSHOT_ERROR)
        sys.exit(_BEFORE_SNAPSHOT_FAILED)
    client.restore_next()
    try:
        for func, args, kwargs in hooks.get_after_restore() if hooks else []:
            func(*args, **kwargs)
    except BaseException as error:
        client.post_restore_error(report(error), AFTER_RESTORE_ERROR)
        sys.exit(_AFTER_RESTORE_FAILED)
