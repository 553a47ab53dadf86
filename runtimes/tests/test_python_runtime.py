"""The Python bootstrap. Expected behaviour: AWS's awslambdaric 4.2.2 and the Lambda Developer Guide."""

import json
import os
import re
import subprocess
import tempfile
import unittest

from harness import FUNCTION_ARN, PYTHON, REQUEST_ID, Function, start_command

ECHO = {"index.py": "def handler(event, context): return event\n"}


def python(source, **options):
    """A function whose index.py is `source`."""
    return Function("python", {"index.py": source}, **options)


class Invocations(unittest.TestCase):
    def test_returns_what_the_handler_returns_again_and_again(self):
        with Function("python", ECHO) as function:
            for number in range(3):
                answer = function.invoke({"number": number})
                self.assertEqual(answer.kind, REQUEST_ID + "/response")
                self.assertEqual(answer.body, b'{"number": %d}' % number)
                self.assertEqual(answer.headers["Content-Type"], "application/json")
            self.assertEqual(function.api.connections, 1, "one kept-alive connection serves all calls")

    def test_no_result_is_null(self):
        with python("def handler(event, context): pass") as function:
            self.assertEqual(function.invoke({}).body, b"null")

    def test_bytes_pass_through(self):
        with python("def handler(event, context): return b'\\x00\\xff'") as function:
            answer = function.invoke({})
            self.assertEqual((answer.body, answer.headers["Content-Type"]), (b"\x00\xff", "application/unknown"))

    def test_event_that_is_not_json_arrives_as_bytes(self):
        with python("def handler(event, context): return repr(event)") as function:
            self.assertEqual(function.invoke(b"plain", headers={"Content-Type": "text/plain"}).json, "b'plain'")

    def test_large_and_chunked_events(self):
        with Function("python", ECHO) as function:
            large = {"text": "x\u00e9" * 500_000}
            self.assertEqual(function.invoke(large).json, large)
            event = {"text": "abc\u20ac" * 1000}
            self.assertEqual(function.invoke(event, chunks=[1, 2, 3, 500]).json, event)

    def test_all_of_json(self):
        source = "{\"a\":[1,-2.5,1e300,true,false,null],\"b\":{},\"c\":\"\\u20ac\\n\"} \n"
        with Function("python", ECHO) as function:
            self.assertEqual(function.invoke(source.encode()).json, json.loads(source))

    def test_ascii_before_python_312_and_utf8_from_then_on(self):
        for version, expected in (("3.11", b'"\\u20ac"'), ("3.12", '"€"'.encode()), ("3.14", '"€"'.encode())):
            with Function("python", ECHO, env={"AWS_EXECUTION_ENV": "AWS_Lambda_python" + version}) as function:
                self.assertEqual(function.invoke("€").body, expected, version)

    def test_decimals_and_nested_bytes_as_awss_encoder_writes_them(self):
        source = """
            from decimal import Decimal
            def handler(event, context):
                return {"a": Decimal("1.10"), "€": [Decimal("1E+3"), Decimal("NaN"), b"text"], "s": "€"}
        """
        with python(source) as function:
            self.assertEqual(
                function.invoke({}).body, b'{"a": 1.10, "\\u20ac": [1E+3, NaN, "text"], "s": "\\u20ac"}'
            )

    def test_what_calls_itself_a_dictionary_is_one_in_json(self):
        source = """
            from collections import namedtuple
            class Row(tuple):
                def _asdict(self): return {"c1": self[0]}
            class Record:
                def _asdict(self): return {"o": [Row((2,))]}
            Point = namedtuple("Point", "x y")
            def handler(event, context):
                if event:
                    circle = [Point(1, 2)]
                    circle.append(circle)
                    return circle
                return {b"k": Point(1, [Row((1,))]), 2: Record(), "t": (1, 2)}
        """
        with python(source) as function:
            wanted = {"k": {"x": 1, "y": [{"c1": 1}]}, "2": {"o": [{"c1": 2}]}, "t": [1, 2]}
            self.assertEqual(function.invoke({}).json, wanted)
            self.assertEqual(
                function.invoke({"circle": True}).json["errorMessage"],
                "Unable to marshal response: Circular reference detected",
            )

    def test_trace_id_is_set_for_the_invocation_and_removed_without_one(self):
        source = "import os\ndef handler(event, context): return os.environ.get('_X_AMZN_TRACE_ID')"
        with python(source) as function:
            trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
            self.assertEqual(function.invoke({}, headers={"Lambda-Runtime-Trace-Id": trace}).json, trace)
            self.assertIsNone(function.invoke({}).json)

    def test_connection_dropped_while_idle(self):
        with Function("python", ECHO) as function:
            self.assertEqual(function.invoke(1).json, 1)
            function.api.invocations.put(None)
            self.assertEqual(function.invoke(2).json, 2)
            self.assertEqual(function.api.connections, 2)

    def test_connection_dropped_while_the_handler_runs(self):
        with Function("python", ECHO) as function:
            for number in range(3):
                self.assertEqual(function.invoke(number, hang_up=True).json, number)
            self.assertGreater(function.api.connections, 3)

    def test_answer_refused_before_it_was_read(self):
        with python('def handler(event, context): return "x" * event') as function:
            function.api.refuse_over = 6_291_556
            function.send(9_000_000)
            function.wait_for_next(2)
            self.assertEqual(function.invoke(3).json, "xxx")

    def test_refused_answers_do_not_end_the_loop(self):
        with Function("python", ECHO) as function:
            for status in (413, 400, 403, 410):
                function.api.statuses.put(status)
                function.invoke("refused")
            self.assertEqual(function.invoke("next").json, "next")
            self.assertIn("status 413", function.output())

    def test_broken_api_ends_the_process(self):
        with Function("python", ECHO) as function:
            function.api.statuses.put(500)
            function.invoke({})
            self.assertEqual(function.exit_status(), 1)

    def test_refused_next_ends_the_process(self):
        with Function("python", ECHO) as function:
            function.api.invocations.put(lambda connection: connection.reply(403, {}, b"{}"))
            self.assertEqual(function.exit_status(), 1)
            self.assertIn("Lambda runtime stops", function.output())


class Context(unittest.TestCase):
    SOURCE = """
        def handler(event, context):
            client = context.client_context
            return {
                "plain": [context.aws_request_id, context.function_name, context.function_version,
                          context.memory_limit_in_mb, context.log_group_name, context.log_stream_name,
                          context.invoked_function_arn, context.tenant_id],
                "remaining": context.get_remaining_time_in_millis(),
                "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
                "client": client and [client.custom, client.env, client.client and client.client.app_title],
                "w3c": context.w3c(),
            }
    """

    def test_fields(self):
        with python(self.SOURCE) as function:
            seen = function.invoke({}, headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"}).json
        stream = "2026/01/02/[7]0123456789abcdef0123456789abcdef"
        expected = [REQUEST_ID, "probe", "7", "128", "/aws/lambda/probe", stream, FUNCTION_ARN, "blue"]
        self.assertEqual(seen["plain"], expected)
        self.assertTrue(1000 < seen["remaining"] <= 3000, seen["remaining"])
        self.assertEqual((seen["identity"], seen["client"]), ([None, None], None))

    def test_time_that_is_over_is_zero(self):
        with python(self.SOURCE) as function:
            self.assertEqual(function.invoke({}, timeout_ms=-5000).json["remaining"], 0)

    def test_client_context_and_identity(self):
        client = {"client": {"app_title": "shop"}, "custom": {"k": "v"}, "env": {"e": "1"}, "w3c": {"traceparent": "00-a"}}
        identity = {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}
        headers = {
            "Lambda-Runtime-Client-Context": json.dumps(client),
            "Lambda-Runtime-Cognito-Identity": json.dumps(identity),
        }
        with python(self.SOURCE) as function:
            seen = function.invoke({}, headers=headers).json
            self.assertEqual(seen["client"], [{"k": "v"}, {"e": "1"}, "shop"])
            self.assertEqual(seen["identity"], ["id", "pool"])
            self.assertEqual(seen["w3c"], {"traceparent": "00-a"})
            broken = function.invoke({}, headers={"Lambda-Runtime-Client-Context": "{"})
            self.assertEqual(broken.json["errorType"], "Runtime.LambdaContextUnmarshalError")
            self.assertIn("Unable to parse Client Context JSON", broken.json["errorMessage"])


class HandlerErrors(unittest.TestCase):
    def test_exception(self):
        source = """
            class Broken(Exception): pass
            def inner(): raise Broken("it is bröken")
            def handler(event, context): inner()
        """
        with python(source) as function:
            answer = function.invoke({})
            self.assertEqual(answer.kind, REQUEST_ID + "/error")
            self.assertEqual(answer.error_type, "Broken")
            document = answer.json
            self.assertEqual(list(document), ["errorMessage", "errorType", "requestId", "stackTrace"])
            self.assertEqual(document["errorMessage"], "it is bröken")
            self.assertEqual(document["requestId"], REQUEST_ID)
            path = function.root + "/index.py"
            self.assertEqual(
                document["stackTrace"],
                [
                    '  File "%s", line 4, in handler\n    def handler(event, context): inner()\n' % path,
                    '  File "%s", line 3, in inner\n    def inner(): raise Broken("it is bröken")\n' % path,
                ],
            )
            cause = json.loads(answer.headers["Lambda-Runtime-Function-XRay-Error-Cause"])
            self.assertEqual(cause["exceptions"][0]["stack"][0], {"label": "handler", "path": path, "line": 4})
            self.assertEqual(function.invoke({}).kind, REQUEST_ID + "/error", "the process lives on")
            log = function.output()
        first = log.split("\n")[0]
        self.assertTrue(first.startswith("[ERROR] Broken: it is bröken\rTraceback (most recent call last):\r"), first)
        self.assertIn('\r\u00a0\u00a0File "%s", line 4, in handler\r\u00a0\u00a0\u00a0\u00a0def' % path, first)

    def test_error_in_json_log(self):
        with python("def handler(e, c): raise KeyError('k')", env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}) as function:
            function.invoke({})
            record = json.loads(function.output())
        self.assertEqual((record["level"], record["errorType"], record["errorMessage"]), ("ERROR", "KeyError", "'k'"))
        self.assertEqual(record["requestId"], REQUEST_ID)
        self.assertRegex(record["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_results_that_are_not_json(self):
        source = """
            def handler(event, context):
                loop = []
                loop.append(loop)
                return {"set": {1}, "loop": loop, "object": {"x": object()}}[event]
        """
        with python(source) as function:
            for event, reason in (
                ("set", "Object of type set is not JSON serializable"),
                ("loop", "Circular reference detected"),
                ("object", "Object of type object is not JSON serializable"),
            ):
                answer = function.invoke(event)
                self.assertEqual(answer.error_type, "Runtime.MarshalError")
                self.assertEqual(answer.json["errorMessage"], "Unable to marshal response: " + reason)
                self.assertEqual(answer.json["stackTrace"], [])

    def test_events_that_are_not_json(self):
        with Function("python", ECHO) as function:
            for body, reason in ((b"", "Expecting value"), (b'{"a":', "Expecting value"), (b"{} x", "Extra data"), (b"NaN", "")):
                answer = function.invoke(body)
                self.assertEqual(answer.error_type, "Runtime.UnmarshalError")
                self.assertRegex(answer.json["errorMessage"], "^Unable to unmarshal input: " + reason)

    def test_sys_exit_ends_the_process(self):
        with python("import sys\ndef handler(event, context): sys.exit(event)") as function:
            function.send(3)
            self.assertEqual(function.exit_status(), 3)
            self.assertTrue(function.api.answers.empty())


class InitErrors(unittest.TestCase):
    def fails(self, files, handler="index.handler", **options):
        """Starts a function that cannot be loaded; its report, and its log."""
        with Function("python", files, handler, **options) as function:
            answer = function.answer()
            self.assertEqual(answer.kind, "init/error")
            self.assertEqual(function.exit_status(), 1)
            self.assertEqual(function.api.next_calls, 0)
            self.assertEqual(answer.error_type, answer.json["errorType"])
            self.assertEqual(answer.json["requestId"], "")
            return answer.json, function.output()

    def test_module_missing(self):
        document, log = self.fails({})
        self.assertEqual(document["errorType"], "Runtime.ImportModuleError")
        self.assertEqual(document["errorMessage"], "Unable to import module 'index': No module named 'index'")
        self.assertRegex(log, r"^\[WARNING\]\t[^\t]*Z\t\tLAMBDA_WARNING: Unhandled exception\. .*runtimes-update\.html\s")
        self.assertIn("[ERROR] Runtime.ImportModuleError: Unable to import", log)

    def test_dependency_missing(self):
        document, _ = self.fails({"index.py": "import nonesuch"})
        self.assertEqual(document["errorMessage"], "Unable to import module 'index': No module named 'nonesuch'")

    def test_syntax_error(self):
        document, _ = self.fails({"index.py": "def handler(:\n"})
        self.assertEqual(document["errorType"], "Runtime.UserCodeSyntaxError")
        self.assertRegex(document["errorMessage"], r"^Syntax error in module 'index': .*\(index.py, line 1\)$")
        self.assertRegex(document["stackTrace"][0], r'^  File ".*/index.py" Line 1\n    def handler\(:')

    def test_function_missing(self):
        document, _ = self.fails(ECHO, "index.nope")
        self.assertEqual(document["errorType"], "Runtime.HandlerNotFound")
        self.assertEqual(document["errorMessage"], "Handler 'nope' missing on module 'index'")

    def test_handler_without_dot(self):
        document, _ = self.fails(ECHO, "index")
        self.assertEqual(document["errorType"], "Runtime.MalformedHandlerName")
        expected = "Bad handler 'index': not enough values to unpack (expected 2, got 1)"
        self.assertEqual(document["errorMessage"], expected)

    def test_built_in_module(self):
        document, _ = self.fails({"sys.py": ""}, "sys.exit")
        self.assertEqual(document["errorType"], "Runtime.BuiltInModuleConflict")
        self.assertEqual(document["errorMessage"], "Cannot use built-in module sys as a handler module")

    def test_exception_at_import(self):
        document, _ = self.fails({"index.py": "raise ValueError('early')"})
        self.assertEqual((document["errorType"], document["errorMessage"]), ("ValueError", "early"))
        self.assertIn("importlib", document["stackTrace"][0])
        self.assertRegex(document["stackTrace"][-1], r"/index.py\", line 1, in <module>\n    raise ValueError")

    def test_sys_exit_at_import(self):
        with python("import sys\nsys.exit(5)") as function:
            self.assertEqual(function.exit_status(), 5)
            self.assertTrue(function.api.answers.empty())


class Logging(unittest.TestCase):
    def test_text_format(self):
        source = """
            import logging
            logging.warning("at init")
            def handler(event, context):
                logging.info("hidden")
                logging.error("two\\nlines %s", "é")
        """
        with python(source) as function:
            function.invoke({})
            log = function.output()
        init, rest = log.split("\n", 1)
        stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        self.assertRegex(init, r"^\[WARNING\]\t%s\t\tat init$" % stamp)
        self.assertRegex(rest, r"^\[ERROR\]\t%s\t%s\ttwo\nlines é\n$" % (stamp, REQUEST_ID))

    def test_json_format_and_level(self):
        source = """
            import logging
            log = logging.getLogger("shop")
            def handler(event, context):
                log.debug("hidden")
                log.info("count %d", 3, extra={"order": 5})
                log.warning({"nested": True})
                try:
                    1 / 0
                except ZeroDivisionError:
                    log.exception("failed")
        """
        env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
        with python(source, env=env) as function:
            function.invoke({}, headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"})
            info, warning, error = [json.loads(line) for line in function.output().splitlines()]
        self.assertRegex(info.pop("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        common = {"logger": "shop", "requestId": REQUEST_ID, "tenantId": "blue"}
        self.assertEqual(info, {"level": "INFO", "message": "count 3", "order": 5, **common})
        self.assertEqual(warning["message"], {"nested": True})
        self.assertEqual((error["errorType"], error["errorMessage"]), ("ZeroDivisionError", "division by zero"))
        self.assertRegex(error["location"], r"/index.py:handler:\d+$")
        self.assertIn("1 / 0", error["stackTrace"][0])

    def test_level_trace_is_debug_in_text(self):
        source = "import logging\ndef handler(event, context): logging.debug('fine')"
        with python(source, env={"AWS_LAMBDA_LOG_LEVEL": "TRACE"}) as function:
            function.invoke({})
            self.assertIn("\tfine\n", function.output())

    def test_print_comes_before_a_crash(self):
        with python("import os\ndef handler(e, c):\n    print('líne')\n    print('part', end='')\n    os._exit(9)") as function:
            function.send({})
            self.assertEqual(function.exit_status(), 9)
            self.assertEqual(function.output(), "líne\npart")

    def test_context_log(self):
        with python("def handler(event, context): context.log('as is')") as function:
            function.invoke({})
            self.assertEqual(function.output(), "as is")

    def test_arguments_that_do_not_fit_fail_the_function(self):
        source = "import logging\ndef handler(event, context): logging.warning('%d', 'x')"
        with python(source) as function:
            self.assertEqual(function.invoke({}).json["errorType"], "TypeError")

    def test_framed_channel(self):
        source = """
            import logging, os
            def handler(event, context):
                logging.error("framed")
                return "_LAMBDA_TELEMETRY_LOG_FD" in os.environ
        """
        with python(source, env={"_LAMBDA_TELEMETRY_LOG_FD": "1", "AWS_LAMBDA_LOG_LEVEL": "INFO"}) as function:
            self.assertIs(function.invoke({}).json, False)
            frame = function.raw_output()
        self.assertEqual(frame[:4], b"\xa5\x5a\x00\x17")
        self.assertEqual(int.from_bytes(frame[4:8], "big"), len(frame) - 16)
        self.assertTrue(frame.endswith(b"\tframed\n"))


class Interpreter(unittest.TestCase):
    def test_handler_in_package_by_dots_and_by_slashes(self):
        files = {"shop/__init__.py": "", "shop/orders.py": "def go(event, context): return __name__"}
        for handler in ("shop.orders.go", "shop/orders.go"):
            with Function("python", files, handler) as function:
                self.assertEqual(function.invoke({}).json, "shop.orders")

    def test_path_begins_with_the_task_root_then_layers(self):
        source = "import sys\ndef handler(event, context): return [sys.path, sys.version_info[:2]]"
        with python(source) as function:
            path, version = function.invoke({}).json
            layer = "/opt/python/lib/python%d.%d/site-packages" % tuple(version)
            self.assertEqual(path[:3], [function.root, layer, "/opt/python"])
            self.assertTrue(any(entry.endswith("lib-dynload") for entry in path))

    def test_python_path_of_the_function_counts(self):
        files = {"index.py": "import extra\ndef handler(event, context): return extra.NAME", "lib/extra.py": "NAME = 'x'"}
        with Function("python", files, env={"PYTHONPATH": "/var/runtime:lib"}) as function:
            self.assertEqual(function.invoke({}).json, "x")

    def test_files_named_like_loaded_standard_modules_shadow_nothing(self):
        files = {
            "index.py": "import json, logging\ndef handler(e, c):\n    logging.error('works')\n    return json.dumps([1])",
            "types.py": "raise RuntimeError('shadowed')",
            "logging.py": "raise RuntimeError('shadowed')",
            "json.py": "raise RuntimeError('shadowed')",
        }
        with Function("python", files) as function:
            self.assertEqual(function.invoke({}).json, "[1]")
            self.assertIn("\tworks\n", function.output())

    def test_looks_ordinary_to_programs(self):
        source = """
            import importlib.metadata, os, subprocess, sys, unittest.mock, urllib.request
            def handler(event, context):
                child = subprocess.run([sys.executable, "-c", "print(1)"], stdout=subprocess.PIPE)
                return [callable(exit), callable(quit), callable(help), os.getcwd(),
                        len(list(importlib.metadata.distributions())) >= 0, child.stdout.decode()]
        """
        with python(source) as function:
            self.assertEqual(function.invoke({}).json, [True, True, True, function.root, True, "1\n"])

    def test_installed_package_in_the_task_root(self):
        files = {
            "index.py": "import importlib.metadata as m\ndef handler(e, c): return m.version('parcel')",
            "parcel/__init__.py": "",
            "parcel-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: parcel\nVersion: 1.2\n",
        }
        with Function("python", files) as function:
            self.assertEqual(function.invoke({}).json, "1.2")

    def test_an_ordinary_invocation_imports_nothing_expensive(self):
        source = "import sys\ndef handler(event, context): return [m for m in event if m in sys.modules]"
        with python(source) as function:
            self.assertEqual(function.invoke(["re", "json", "logging", "traceback", "socket", "enum"]).json, [])

    def test_of_the_interpreters_packages_boto3_is_lent_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as prefix:
            version = subprocess.check_output([PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"])
            packages = os.path.join(prefix, "lib", version.decode().strip(), "site-packages")
            os.makedirs(os.path.join(packages, "boto3"))
            os.makedirs(os.path.join(packages, "boto3-1.9.dist-info"))
            with open(os.path.join(packages, "boto3-1.9.dist-info", "METADATA"), "w") as file:
                file.write("Metadata-Version: 2.1\nName: boto3\nVersion: 1.9\n")
            os.makedirs(os.path.join(packages, "other"))
            os.mkdir(os.path.join(prefix, "bin"))
            interpreter = os.path.join(prefix, "bin", "python3")
            real = subprocess.check_output([PYTHON, "-c", "import sys; print(sys.executable)"]).decode().strip()
            os.symlink(os.path.realpath(real), interpreter)
            command = [interpreter, *start_command("python")[1:]]
            source = """
                import sys, importlib.metadata as metadata
                def handler(event, context):
                    import boto3
                    try: import other
                    except ModuleNotFoundError as error: refused = str(error)
                    return [list(boto3.__path__), refused, metadata.version("boto3"), len(list(metadata.distributions()))]
            """
            with python(source, command=command) as function:
                wanted = [[packages + "/boto3"], "No module named 'other'", "1.9", 1]
                self.assertEqual(function.invoke({}).json, wanted)

    def test_isolated_start_works_too(self):
        command = [PYTHON, "-I", *start_command("python")[1:]]
        with python("def handler(event, context): return __file__", command=command) as function:
            self.assertEqual(function.invoke({}).json, function.root + "/index.py")

    def test_signals_reach_the_handler_while_idle(self):
        source = """
            import os, signal
            def stop(*_):
                print("stopping", flush=True)
                os._exit(0)
            signal.signal(signal.SIGTERM, stop)
            def handler(event, context): return None
        """
        with python(source) as function:
            function.wait_for_next(1)
            function.terminate()
            self.assertEqual(function.exit_status(), 0)
            self.assertEqual(function.output(), "stopping\n")

    def test_nothing_of_ours_is_in_the_way(self):
        source = "import re, sys\ndef handler(event, context): return sorted(m for m in sys.modules if 'lambfold' in m)"
        with python(source) as function:
            names = function.invoke({}).json
        self.assertTrue(all(re.match(r"lambfold_runtime(\.|$)", name) for name in names), names)


class Debuggers(unittest.TestCase):
    """The function brings a debugpy of its own, which says what it was asked for."""

    DEBUGPY = """
        import os, sys
        asked = ["index" in sys.modules, os.environ["PYDEVD_DISABLE_FILE_VALIDATION"]]
        def listen(address):
            asked.append(address)
            if address[1] == 5999:
                raise RuntimeError("Address already in use")
        def wait_for_client():
            asked.append("wait")
    """
    SOURCE = """
        import os, sys
        def handler(event, context):
            debugpy = sys.modules.get("debugpy")
            return [debugpy and debugpy.asked, "PYDEVD_DISABLE_FILE_VALIDATION" in os.environ]
    """

    def function(self, **env):
        env = {"LAMBFOLD_" + name: value for name, value in env.items()}
        return Function("python", {"index.py": self.SOURCE, "debugpy.py": self.DEBUGPY}, env=env)

    def test_it_listens_before_the_handler_is_loaded(self):
        with self.function(DEBUG_PORT="5678") as function:
            self.assertEqual(function.invoke({}).json, [[False, "1", ["127.0.0.1", 5678]], False])
        with self.function(DEBUG_PORT="5678", DEBUG_WAIT="0") as function:
            self.assertEqual(function.invoke({}).json[0][3:], [])
        with self.function(DEBUG_PORT="5678", DEBUG_WAIT="1") as function:
            self.assertEqual(function.invoke({}).json[0][3:], ["wait"])

    def test_nobody_asked(self):
        for env in ({}, {"DEBUG_PORT": ""}):
            with self.function(**env) as function:
                self.assertEqual(function.invoke({}).json, [None, False])

    def test_it_cannot_listen(self):
        with self.function(DEBUG_PORT="5999") as function:
            answer = function.answer()
            self.assertEqual((answer.kind, answer.error_type), ("init/error", "Lambfold.Debugger"))
            self.assertIn("cannot listen at port 5999: Address already in use", answer.json["errorMessage"])

    def test_it_is_not_there(self):
        files = {"index.py": self.SOURCE, "debugpy.py": "raise ImportError('broken')"}
        with Function("python", files, env={"LAMBFOLD_DEBUG_PORT": "5678"}) as function:
            answer = function.answer()
            self.assertEqual((answer.kind, answer.error_type), ("init/error", "Lambfold.Debugger"))
            self.assertIn("needs debugpy, which cannot be imported: broken.", answer.json["errorMessage"])


if __name__ == "__main__":
    unittest.main()
