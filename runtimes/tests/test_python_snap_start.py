"""Hooks of SnapStart functions, by Python's bootstrap."""

import unittest

from harness import Function

HOOKS = """
    import sys
    from snapshot_restore_py import register_after_restore, register_before_snapshot
    done = []
    def fails(error):
        raise error
    %s
    def handler(event, context):
        return done
"""


def function(hooks):
    environment = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}
    return Function("python", {"index.py": HOOKS % hooks}, env=environment)


class Hooks(unittest.TestCase):
    def test_hooks_run_around_the_restoration(self):
        with function("""register_before_snapshot(done.append, 1)
    register_before_snapshot(done.append, 2)
    register_after_restore(done.append, 3)
    register_after_restore(done.append, 4)""") as probe:
            probe.send({})  # It is restored.
            self.assertEqual(probe.invoke({}).json, [2, 1, 3, 4])

    def test_a_hook_that_fails_before_the_snapshot(self):
        for error, name in [("ValueError('no')", "ValueError"), ("SystemExit(0)", "SystemExit")]:
            with self.subTest(name), function("register_before_snapshot(fails, %s)" % error) as probe:
                answer = probe.answer()
                self.assertEqual(answer.kind, "init/error")
                self.assertEqual((answer.error_type, answer.json["errorType"]), ("Runtime.BeforeSnapshotError", name))
                self.assertEqual(probe.exit_status(), 64)
                self.assertIn(name, probe.output())

    def test_a_hook_that_fails_after_the_restoration(self):
        for error, name in [("ValueError('no')", "ValueError"), ("SystemExit(0)", "SystemExit")]:
            with self.subTest(name), function("register_after_restore(fails, %s)" % error) as probe:
                probe.send({})
                answer = probe.answer()
                self.assertEqual(answer.kind, "restore/error")
                self.assertEqual((answer.error_type, answer.json["errorType"]), ("Runtime.AfterRestoreError", name))
                self.assertEqual(probe.exit_status(), 65)


if __name__ == "__main__":
    unittest.main()
