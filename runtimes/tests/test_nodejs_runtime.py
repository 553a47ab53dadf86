"""The Node.js bootstrap. Expected behaviour: AWS's aws-lambda-ric 3.3.0 (until Node.js 22) and 4.0.2 (24), and
the Lambda Developer Guide."""

import base64
import json
import socket
import unittest

from harness import FUNCTION_ARN, NODE, REQUEST_ID, Function

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
ECHO = {"index.js": "exports.handler = async (event) => event;"}
NODE_22 = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}
NODE_24 = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}


def nodejs(source, **options):
    """A function whose index.js is `source`."""
    return Function("nodejs", {"index.js": source}, **{"env": NODE_22, **options})


@unittest.skipUnless(NODE, "needs node")
class NodeTestCase(unittest.TestCase):
    pass


class Invocations(NodeTestCase):
    def test_returns_what_the_handler_returns_again_and_again(self):
        with Function("nodejs", ECHO) as function:
            for number in range(3):
                answer = function.invoke({"number": number})
                self.assertEqual(answer.kind, REQUEST_ID + "/response")
                self.assertEqual(answer.body, b'{"number":%d}' % number)
                self.assertEqual(answer.headers["Content-Type"], "application/json")
            self.assertEqual(function.api.connections, 1, "one kept-alive connection serves all calls")

    def test_no_result_is_null(self):
        with nodejs("exports.handler = async () => {};") as function:
            self.assertEqual(function.invoke({}).body, b"null")

    def test_large_and_chunked_events(self):
        with Function("nodejs", ECHO) as function:
            large = {"text": "x\u00e9" * 500_000}
            self.assertEqual(function.invoke(large).json, large)
            event = {"text": "abc\u20ac" * 1000}
            self.assertEqual(function.invoke(event, chunks=[1, 2, 3, 500]).json, event)

    def test_trace_id_is_set_for_the_invocation_and_removed_without_one(self):
        with nodejs("exports.handler = async () => process.env._X_AMZN_TRACE_ID;") as function:
            trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
            self.assertEqual(function.invoke({}, headers={"Lambda-Runtime-Trace-Id": trace}).json, trace)
            self.assertIsNone(function.invoke({}).json)

    def test_connection_dropped_while_idle(self):
        with Function("nodejs", ECHO) as function:
            self.assertEqual(function.invoke(1).json, 1)
            function.api.invocations.put(None)
            self.assertEqual(function.invoke(2).json, 2)
            self.assertEqual(function.api.connections, 2)

    def test_connection_dropped_while_the_handler_runs(self):
        with Function("nodejs", ECHO) as function:
            for number in range(3):
                self.assertEqual(function.invoke(number, hang_up=True).json, number)
            self.assertGreater(function.api.connections, 3)

    def test_answer_refused_before_it_was_read(self):
        with nodejs('exports.handler = async (event) => "x".repeat(event);') as function:
            function.api.refuse_over = 6_291_556
            function.send(9_000_000)
            function.wait_for_next(2)
            self.assertEqual(function.invoke(3).json, "xxx")

    def test_refused_answers_do_not_end_the_loop(self):
        with Function("nodejs", ECHO) as function:
            for status in (413, 400, 403, 410):
                function.api.statuses.put(status)
                function.invoke("refused")
            self.assertEqual(function.invoke("next").json, "next")
            self.assertIn("status 413", function.output())

    def test_broken_api_ends_the_process(self):
        with Function("nodejs", ECHO) as function:
            function.api.statuses.put(500)
            function.invoke({})
            self.assertEqual(function.exit_status(), 1)

    def test_refused_next_ends_the_process(self):
        with Function("nodejs", ECHO) as function:
            function.api.invocations.put(lambda connection: connection.reply(403, {}, b"{}"))
            self.assertEqual(function.exit_status(), 1)
            self.assertIn("Lambda runtime stops", function.output())


class Context(NodeTestCase):
    SOURCE = """
        exports.handler = async (event, context) => ({
          ...context, remaining: context.getRemainingTimeInMillis(), keys: Object.keys(context).sort(),
        });
    """

    def test_fields(self):
        headers = {
            "Lambda-Runtime-Client-Context": '{"custom":{"k":"v"}}',
            "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}',
            "Lambda-Runtime-Aws-Tenant-Id": "blue",
        }
        with nodejs(self.SOURCE) as function:
            seen = function.invoke({}, headers=headers).json
        keys = seen.pop("keys")
        self.assertTrue({"done", "fail", "succeed", "getRemainingTimeInMillis"} <= set(keys), keys)
        self.assertTrue(1000 < seen.pop("remaining") <= 3000)
        self.assertEqual(
            seen,
            {
                "awsRequestId": REQUEST_ID,
                "functionName": "probe",
                "functionVersion": "7",
                "memoryLimitInMB": "128",
                "logGroupName": "/aws/lambda/probe",
                "logStreamName": "2026/01/02/[7]0123456789abcdef0123456789abcdef",
                "invokedFunctionArn": FUNCTION_ARN,
                "tenantId": "blue",
                "clientContext": {"custom": {"k": "v"}},
                "identity": {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"},
                "callbackWaitsForEmptyEventLoop": True,
            },
        )

    def test_nodejs_24_has_no_callback_members(self):
        with nodejs(self.SOURCE, env=NODE_24) as function:
            keys = set(function.invoke({}).json["keys"])
        self.assertFalse(keys & {"done", "fail", "succeed", "callbackWaitsForEmptyEventLoop"}, keys)

    def test_malformed_client_context(self):
        with nodejs(self.SOURCE) as function:
            answer = function.invoke({}, headers={"Lambda-Runtime-Client-Context": "{"})
            self.assertRegex(answer.json["errorMessage"], "^Cannot parse ClientContext as json: SyntaxError")


class Callbacks(NodeTestCase):
    def test_result_waits_for_the_empty_event_loop(self):
        source = """
            let ran = false;
            exports.handler = (event, context, callback) => {
              setTimeout(() => { ran = true; console.log("timer"); }, 30);
              callback(null, { get ran() { return ran; } });
            };
        """
        with nodejs(source) as function:
            self.assertEqual(function.invoke({}).json, {"ran": True})
            self.assertIn("timer", function.output())

    def test_result_does_not_wait_when_told_so(self):
        source = """
            exports.handler = (event, context, callback) => {
              context.callbackWaitsForEmptyEventLoop = false;
              setTimeout(() => {}, 100000);
              callback(null, "now");
            };
        """
        with nodejs(source) as function:
            self.assertEqual(function.invoke({}).json, "now")
            self.assertEqual(function.invoke({}).json, "now")

    def test_errors_and_the_calls_of_the_context(self):
        source = """
            exports.handler = (event, context, callback) => {
              const error = new TypeError("bad");
              ({
                callback: () => callback(error),
                text: () => callback("only text"),
                fail: () => context.fail(error),
                failWithNothing: () => context.fail(),
                done: () => context.done(null, 1),
                succeed: () => { context.succeed(2); context.succeed(3); callback(error); },
                throws: () => { throw error; },
              })[event]();
            };
        """
        with nodejs(source) as function:
            for event in ("callback", "fail", "throws"):
                answer = function.invoke(event)
                self.assertEqual((answer.kind, answer.error_type), (REQUEST_ID + "/error", "TypeError"), event)
            self.assertEqual(
                function.invoke("text").json, {"errorType": "string", "errorMessage": "only text", "trace": []}
            )
            self.assertEqual(function.invoke("failWithNothing").json["errorMessage"], "handled")
            self.assertEqual(function.invoke("done").json, 1)
            self.assertEqual(function.invoke("succeed").json, 2)
            self.assertTrue(function.api.answers.empty())

    def test_callback_never_called_is_null(self):
        with nodejs("exports.handler = (event, context, callback) => 5;") as function:
            self.assertEqual(function.invoke({}).body, b"null")
            self.assertEqual(function.invoke({}).body, b"null")

    def test_promise_from_an_ordinary_function(self):
        with nodejs("exports.handler = (event) => Promise.resolve(event);") as function:
            self.assertEqual(function.invoke("p").json, "p")

    def test_nodejs_24_refuses_callback_handlers(self):
        with nodejs("exports.handler = (event, context, callback) => {};", env=NODE_24) as function:
            answer = function.answer()
            self.assertEqual((answer.kind, answer.error_type), ("init/error", "Runtime.CallbackHandlerDeprecated"))
            self.assertIn("has removed support for callback-based", answer.json["errorMessage"])
            self.assertEqual(function.exit_status(), 1)
            self.assertIn("\tERROR\tInit Error \t{", function.output())

    def test_nodejs_24_takes_what_an_ordinary_function_returns(self):
        with nodejs("exports.handler = (event, context) => event + 1;", env=NODE_24) as function:
            self.assertEqual(function.invoke(1).json, 2)


class HandlerErrors(NodeTestCase):
    def test_rejected_promise(self):
        source = """
            class Broken extends Error { constructor(m) { super(m); this.name = "Broken"; this.code = "E1"; } }
            exports.handler = async () => { throw new Broken("it is bröken"); };
        """
        with nodejs(source) as function:
            answer = function.invoke({})
            self.assertEqual((answer.kind, answer.error_type), (REQUEST_ID + "/error", "Broken"))
            self.assertEqual(list(answer.json), ["errorType", "errorMessage", "trace"])
            self.assertEqual(answer.json["errorMessage"], "it is bröken")
            trace = answer.json["trace"]
            self.assertRegex(trace[1], r"^    at .*%s/index.js:3:\d+\)?$" % function.root)
            cause = json.loads(answer.headers["Lambda-Runtime-Function-XRay-Error-Cause"])
            self.assertEqual(cause["exceptions"][0]["message"], "it is bröken")
            place = cause["exceptions"][0]["stack"][0]
            self.assertEqual((place["path"], place["line"]), (function.root + "/index.js", 3))
            self.assertEqual(function.invoke({}).kind, REQUEST_ID + "/error", "the process lives on")
            line = function.output().splitlines()[0]
        self.assertRegex(line, r"^%s\t%s\tERROR\tInvoke Error \t\{" % (STAMP, REQUEST_ID))
        record = json.loads(line.split("\t")[-1])
        self.assertEqual((record["errorType"], record["code"], record["stack"]), ("Broken", "E1", trace))

    def test_what_is_thrown_may_be_no_error(self):
        with nodejs("exports.handler = async (event) => { throw event; };") as function:
            for event, kind, message in (("text", "string", "text"), (5, "number", "5"), ({}, "object", "[object Object]")):
                answer = function.invoke(event)
                self.assertEqual(answer.json, {"errorType": kind, "errorMessage": message, "trace": []})
                self.assertEqual(answer.error_type, kind)

    def test_results_that_are_not_json(self):
        source = "exports.handler = async (event) => { const a = []; a.push(a); return event ? a : 1n; };"
        for env, expected in ((NODE_22, "Error"), (NODE_24, "Runtime.JSONStringifyError")):
            with nodejs(source, env=env) as function:
                for event in (0, 1):
                    answer = function.invoke(event)
                    self.assertEqual(answer.json["errorType"], expected)
                    self.assertEqual(answer.json["errorMessage"], "Unable to stringify response body")

    def test_events_that_are_not_json(self):
        with Function("nodejs", ECHO) as function:
            self.assertEqual(function.invoke(b'{"a":').error_type, "SyntaxError")
            self.assertEqual(function.invoke("fine").json, "fine")

    def test_uncaught_exception(self):
        source = "exports.handler = () => new Promise(() => setTimeout(() => { throw new RangeError('late'); }, 1));"
        with nodejs(source) as function:
            answer = function.invoke({})
            self.assertEqual((answer.kind, answer.error_type), (REQUEST_ID + "/error", "RangeError"))
            self.assertEqual(function.exit_status(), 129)
            self.assertIn("\tERROR\tUncaught Exception \t{", function.output())

    def test_unhandled_rejection(self):
        source = """
            exports.handler = () => new Promise(() => { Promise.reject(new Error("lost")); setTimeout(() => {}, 10000); });
        """
        with nodejs(source) as function:
            answer = function.invoke({})
            self.assertEqual(answer.error_type, "Runtime.UnhandledPromiseRejection")
            self.assertEqual(answer.json["errorMessage"], "Error: lost")
            self.assertEqual(function.exit_status(), 128)
            self.assertIn("\tERROR\tUnhandled Promise Rejection \t{", function.output())

    def test_promise_that_never_settles(self):
        for env in (NODE_22, NODE_24):
            with nodejs("exports.handler = async (e) => e || new Promise(() => {});", env=env) as function:
                answer = function.invoke(0)
                self.assertEqual(answer.error_type, "Runtime.NodeJsExit")
                self.assertIn("a Promise that was never settled", answer.json["errorMessage"])
                self.assertEqual(function.invoke("goes on").json, "goes on")

    def test_process_exit(self):
        with nodejs("exports.handler = async (event) => process.exit(event);") as function:
            function.send(7)
            self.assertEqual(function.exit_status(), 7)
            self.assertTrue(function.api.answers.empty())


class Loading(NodeTestCase):
    def test_kinds_of_modules(self):
        cases = {
            "common js": ({"index.js": "exports.handler = async () => __filename;"}, "index.handler"),
            "cjs": ({"index.cjs": "exports.handler = async () => __filename;"}, "index.handler"),
            "mjs": (
                {"index.mjs": "const x = await Promise.resolve('top');\nexport const handler = async () => x;"},
                "index.handler",
            ),
            "type module": (
                {"package.json": '{"type":"module"}', "index.js": "export const handler = async () => import.meta.url;"},
                "index.handler",
            ),
            "directory and nested export": (
                {"src/app/index.js": "exports.api = { v1: { go: async () => 'nested' } };"},
                "src/app/index.api.v1.go",
            ),
            "package in node_modules": (
                {"node_modules/parcel/index.js": "exports.handler = async () => 'parcel';"},
                "parcel.handler",
            ),
            "requires its dependency": (
                {
                    "index.js": "const d = require('dep'); exports.handler = async () => d;",
                    "node_modules/dep/index.js": "module.exports = 'dep';",
                },
                "index.handler",
            ),
        }
        for name, (files, handler) in cases.items():
            with self.subTest(name), Function("nodejs", files, handler, env=NODE_22) as function:
                self.assertEqual(function.invoke({}).kind, REQUEST_ID + "/response")

    def test_default_export_counts_from_nodejs_24(self):
        with Function("nodejs", {"index.mjs": "export default { handler: async () => 1 };"}, env=NODE_24) as function:
            self.assertEqual(function.invoke({}).json, 1)

    def fails(self, files, handler="index.handler", env=NODE_22, status=129):
        """Starts a function that cannot be loaded; its report."""
        with Function("nodejs", files, handler, env=env) as function:
            answer = function.answer()
            self.assertEqual(answer.kind, "init/error")
            self.assertEqual(answer.error_type, answer.json["errorType"])
            self.assertEqual(function.exit_status(), status)
            self.assertEqual(function.api.next_calls, 0)
            self.assertRegex(function.output(), r"^%s\t(undefined|-)\tERROR\t(Uncaught Exception|Init Error) \t\{" % STAMP)
            return answer.json

    def test_module_missing(self):
        for env, status in ((NODE_22, 129), (NODE_24, 1)):
            document = self.fails({}, env=env, status=status)
            self.assertEqual(document["errorType"], "Runtime.ImportModuleError")
            self.assertRegex(document["errorMessage"], r"^Error: Cannot find module 'index'\nRequire stack:\n- .*/index.mjs$")

    def test_dependency_missing(self):
        document = self.fails({"index.js": "require('nonesuch');"})
        self.assertEqual(document["errorType"], "Runtime.ImportModuleError")
        self.assertRegex(document["errorMessage"], r"^Error: Cannot find module 'nonesuch'\nRequire stack:\n- .*/index.js")

    def test_syntax_error(self):
        for name in ("index.js", "index.mjs"):
            document = self.fails({name: "const = ;"})
            self.assertEqual(document["errorType"], "Runtime.UserCodeSyntaxError")
            self.assertRegex(document["errorMessage"], "^SyntaxError: Unexpected token")

    def test_handler_missing_or_no_function(self):
        document = self.fails(ECHO, "index.nope")
        self.assertEqual(document["errorType"], "Runtime.HandlerNotFound")
        self.assertEqual(document["errorMessage"], "index.nope is undefined or not exported")
        document = self.fails({"index.js": "exports.handler = 5;"})
        self.assertEqual(document["errorMessage"], "index.handler is not a function")

    def test_malformed_names(self):
        document = self.fails(ECHO, "index")
        self.assertEqual((document["errorType"], document["errorMessage"]), ("Runtime.MalformedHandlerName", "Bad handler"))
        document = self.fails(ECHO, "../index.handler")
        self.assertEqual(document["errorType"], "Runtime.MalformedHandlerName")
        self.assertIn("'../index.handler' is not a valid handler name", document["errorMessage"])

    def test_exception_while_loading(self):
        document = self.fails({"index.js": "throw new RangeError('early');"})
        self.assertEqual((document["errorType"], document["errorMessage"]), ("RangeError", "early"))

    def test_a_rejection_that_loading_leaves_behind_comes_before_the_first_invocation(self):
        source = """
            async function setup() { await null; throw new Error('setup failed'); }
            setup();
            exports.handler = async () => 1;
        """
        with nodejs(source) as function:
            answer = function.answer()
            self.assertEqual((answer.kind, answer.error_type), ("init/error", "Runtime.UnhandledPromiseRejection"))
            self.assertEqual((function.exit_status(), function.api.next_calls), (128, 0))

    def test_unhandled_rejection_while_loading(self):
        with nodejs("Promise.reject(new Error('lost')); module.exports = new Promise(() => {});") as function:
            answer = function.answer()
            self.assertEqual((answer.kind, answer.error_type), ("init/error", "Runtime.UnhandledPromiseRejection"))
            self.assertEqual(function.exit_status(), 128)

    def test_top_level_await_that_never_settles(self):
        with Function("nodejs", {"index.mjs": "await new Promise(() => {});"}) as function:
            self.assertEqual(function.exit_status(), 13)


class Console(NodeTestCase):
    def test_text_format(self):
        source = """
            console.log("at init");
            exports.handler = async () => {
              console.log("a %s", "b", { c: 1 });
              console.warn("two\\nlínes");
              console.debug("d"); console.trace("t"); console.error("e"); console.info("i");
            };
        """
        with nodejs(source) as function:
            function.invoke({})
            lines = function.output().splitlines(keepends=False)
            lines = function.output().split("\n")
        self.assertRegex(lines[0], r"^%s\tundefined\tINFO\tat init$" % STAMP)
        self.assertRegex(lines[1], r"^%s\t%s\tINFO\ta b \{ c: 1 \}$" % (STAMP, REQUEST_ID))
        self.assertRegex(lines[2], r"\tWARN\ttwo\rlínes$")
        self.assertEqual([line.split("\t")[2] for line in lines[3:7]], ["DEBUG", "TRACE", "ERROR", "INFO"])

    def test_json_format_and_level(self):
        source = """
            exports.handler = async () => {
              console.debug("hidden");
              console.log({ order: 5 });
              console.warn("text %d", 3);
              console.error("failed", new RangeError("far"));
              const loop = {}; loop.self = loop;
              console.error(loop);
              throw new TypeError("bad");
            };
        """
        env = {**NODE_22, "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
        with nodejs(source, env=env) as function:
            function.invoke({}, headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"})
            info, warn, error, loop, thrown = [json.loads(line) for line in function.output().splitlines()]
        self.assertRegex(info.pop("timestamp"), "^%s$" % STAMP)
        common = {"requestId": REQUEST_ID, "tenantId": "blue"}
        self.assertEqual(info, {"level": "INFO", "message": {"order": 5}, **common})
        self.assertEqual((warn["level"], warn["message"]), ("WARN", "text 3"))
        self.assertEqual((error["errorType"], error["errorMessage"]), ("RangeError", "far"))
        self.assertEqual(error["stackTrace"][0], "RangeError: far")
        self.assertIn("Circular", loop["message"])
        self.assertEqual((thrown["level"], thrown["message"]["errorType"]), ("ERROR", "TypeError"))

    def test_framed_channel(self):
        source = "exports.handler = async () => { console.error('framed'); return process.env._LAMBDA_TELEMETRY_LOG_FD; };"
        with nodejs(source, env={**NODE_22, "_LAMBDA_TELEMETRY_LOG_FD": "1"}) as function:
            self.assertIsNone(function.invoke({}).json)
            frame = function.raw_output()
        self.assertEqual(frame[:4], b"\xa5\x5a\x00\x17")
        self.assertEqual(int.from_bytes(frame[4:8], "big"), len(frame) - 16)
        self.assertTrue(frame.endswith(b"\tERROR\tframed\n"))


class Streaming(NodeTestCase):
    def test_chunks_arrive_in_order_without_trailers(self):
        source = """
            exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
              stream.setContentType("text/plain");
              for (let i = 0; i < 3; i++) stream.write(`part ${i};`);
              stream.write({ json: context.awsRequestId.length });
              stream.end("x".repeat(300000));
            });
        """
        with nodejs(source) as function:
            for _ in range(2):
                answer = function.invoke({})
                self.assertEqual(answer.kind, REQUEST_ID + "/response")
                self.assertEqual(answer.body, b'part 0;part 1;part 2;{"json":36}' + b"x" * 300000)
                self.assertEqual(answer.headers["Lambda-Runtime-Function-Response-Mode"], "streaming")
                self.assertEqual(answer.headers["Content-Type"], "text/plain")
                self.assertEqual(
                    answer.headers["Trailer"], "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
                )
                self.assertEqual(answer.trailers, {})

    def test_pipeline_and_http_prelude(self):
        source = """
            const { pipeline } = require("stream/promises");
            const { Readable } = require("stream");
            exports.handler = awslambda.streamifyResponse(async (event, stream) => {
              const http = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: "b" } });
              await pipeline(Readable.from(["one ", "two"]), http);
            });
        """
        with nodejs(source) as function:
            answer = function.invoke({})
        self.assertEqual(answer.headers["Content-Type"], "application/vnd.awslambda.http-integration-response")
        self.assertEqual(answer.body, b'{"statusCode":201,"headers":{"a":"b"}}' + b"\0" * 8 + b"one two")

    def test_failure_after_the_first_byte_is_in_the_trailers(self):
        source = """
            exports.handler = awslambda.streamifyResponse(async (event, stream) => {
              stream.write("begun");
              if (event.destroy) { stream.destroy(new RangeError("late")); await new Promise(r => setTimeout(r, 1)); return; }
              throw new RangeError("late");
            });
        """
        with nodejs(source) as function:
            for event in ({}, {"destroy": True}):
                answer = function.invoke(event)
                self.assertEqual(answer.body, b"begun")
                self.assertEqual(answer.trailers["Lambda-Runtime-Function-Error-Type"], "RangeError")
                document = json.loads(base64.b64decode(answer.trailers["Lambda-Runtime-Function-Error-Body"]))
                self.assertEqual((document["errorType"], document["errorMessage"]), ("RangeError", "late"))

    def test_failure_before_the_first_byte_is_an_ordinary_error(self):
        source = """
            exports.handler = awslambda.streamifyResponse(async (event, stream) => {
              if (event.forget) return;
              throw new RangeError("early");
            });
        """
        with nodejs(source) as function:
            self.assertEqual(function.invoke({}).error_type, "RangeError")
            answer = function.invoke({"forget": True})
            self.assertEqual(answer.kind, REQUEST_ID + "/error")
            self.assertEqual(answer.json["errorMessage"], "Response stream is not finished.")
            self.assertEqual(function.invoke({}).error_type, "RangeError")

    def test_handler_must_be_asynchronous(self):
        with nodejs("exports.handler = awslambda.streamifyResponse((event, stream) => {});") as function:
            self.assertEqual(
                function.invoke({}).json["errorMessage"], "Streaming does not support non-async handlers."
            )

    def test_nodejs_24_takes_three_parameters_when_streaming(self):
        source = "exports.handler = awslambda.streamifyResponse(async (e, stream, context) => { stream.end('ok'); });"
        with nodejs(source, env=NODE_24) as function:
            self.assertEqual(function.invoke({}).body, b"ok")
            self.assertEqual(function.invoke({}).body, b"ok")

    def test_global_can_be_switched_off(self):
        source = "exports.handler = async () => typeof awslambda;"
        with nodejs(source, env={**NODE_22, "AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA": "1"}) as function:
            self.assertEqual(function.invoke({}).json, "undefined")


class Debuggers(NodeTestCase):
    SOURCE = "exports.handler = async () => require('inspector').url() ?? null;"

    def test_it_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with nodejs(self.SOURCE, env={"LAMBFOLD_DEBUG_PORT": str(port)}) as function:
            self.assertTrue(function.invoke({}).json.startswith("ws://127.0.0.1:%d/" % port))

    def test_nobody_asked(self):
        for env in ({}, {"LAMBFOLD_DEBUG_PORT": ""}):
            with nodejs(self.SOURCE, env=env) as function:
                self.assertIsNone(function.invoke({}).json)

    def test_it_cannot_listen(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with nodejs(self.SOURCE, env={"LAMBFOLD_DEBUG_PORT": str(port)}) as function:
                answer = function.answer()
                self.assertEqual((answer.kind, answer.error_type), ("init/error", "Lambfold.Debugger"))
                self.assertIn("cannot listen at port %d" % port, answer.json["errorMessage"])


class Waiting(NodeTestCase):
    """What a process that waited has rehearsed, a function does not see."""

    VIEW = """
        const mine = (names) => names.filter((name) => !name.includes('nodejs') || name.includes('rehearsal/'));
        const symbols = Object.getOwnPropertySymbols(globalThis).map(String);
        exports.handler = async () => ({
          modules: mine(Object.keys(require.cache)).length, paths: mine(Object.keys(require('module')._pathCache)).length,
          symbols, globals: Object.keys(globalThis), console: Object.keys(console),
          collector: [typeof gc, require('vm').runInNewContext('typeof gc')], argv: process.argv.length, execArgv: process.execArgv,
          listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
          resources: process.getActiveResourcesInfo(), environment: Object.keys(process.env), exitCode: process.exitCode ?? null,
          handler: process.env._HANDLER, format: process.env.AWS_LAMBDA_LOG_FORMAT ?? null,
        });
    """

    def test_a_rehearsal_leaves_nothing(self):
        views = []
        for wait in (False, True):
            with Function("nodejs", {"index.js": self.VIEW}, wait=wait) as function:
                views.append(function.invoke({}).json)
                self.assertEqual(function.output(), "")
        self.assertEqual(*views)


if __name__ == "__main__":
    unittest.main()
