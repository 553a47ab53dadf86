"""What SnapStart functions do around a snapshot. None is taken here: the hooks run one after the other in every
environment, so that what a function does in them is done."""

import sys

# As AWS's runtime leaves.
_BEFORE_SNAPSHOT_FAILED = 64
_AFTER_RESTORE_FAILED = 65


def run_hooks(client, report):
    """Runs what user code has registered; `report` makes the body and type of an error."""
    # Whoever registers hooks has imported the module, perhaps one of their own.
    hooks = sys.modules.get("snapshot_restore_py")
    try:
        # The last one first, as AWS does.
        for func, args, kwargs in reversed(hooks.get_before_snapshot() if hooks else []):
            func(*args, **kwargs)
    except Exception as error:
        client.post_init_error(*report(error))
        sys.exit(_BEFORE_SNAPSHOT_FAILED)
    client.restore_next()
    try:
        for func, args, kwargs in hooks.get_after_restore() if hooks else []:
            func(*args, **kwargs)
    except Exception as error:
        client.post_restore_error(*report(error))
        sys.exit(_AFTER_RESTORE_FAILED)
