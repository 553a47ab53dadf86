"""InvokeWithResponseStream through boto3: pieces as they are written, errors half way, functions that do not stream."""

import base64
import json
import time

from conftest import error_of

STREAMS = """
const { setTimeout: pause } = require('timers/promises');
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType('text/plain');
  for (const word of event.words) { stream.write(word); await pause(event.pause ?? 0); }
  if (event.fail) throw new RangeError('half way');
  if (event.fill) for (let n = 0; n < event.fill; n += 1)
    if (!stream.write(Buffer.alloc(65536, 'x'))) await new Promise((done) => stream.once('drain', done));
  stream.end();
});
"""


def events(lam, name, event, **more):
    """(seconds after the call, kind, value) of each event."""
    began = time.monotonic()
    answer = lam.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode(), **more)
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/vnd.amazon.eventstream"
    found = []
    for item in answer["EventStream"]:
        (kind, value), = item.items()
        found.append((time.monotonic() - began, kind, value))
    return found


def body(found):
    return b"".join(value["Payload"] for _, kind, value in found if kind == "PayloadChunk")


def streaming(functions, **more):
    return functions(STREAMS, file="index.js", runtime="nodejs20.x", timeout=20, **more)


def test_pieces_come_as_they_are_written(lam, functions):
    name = streaming(functions)
    events(lam, name, {"words": ["warm"]})
    found = events(lam, name, {"words": ["one ", "two ", "three"], "pause": 700}, LogType="Tail")
    assert body(found) == b"one two three"
    assert found[-1][1] == "InvokeComplete" and "ErrorCode" not in found[-1][2]
    assert b"REPORT RequestId: " in base64.b64decode(found[-1][2]["LogResult"])
    first, last = found[0][0], found[-1][0]
    assert last - first > 0.5, "the first piece came long before the end"


def test_a_failure_half_way_is_in_the_last_event(lam, functions):
    found = events(lam, streaming(functions), {"words": ["half"], "pause": 50, "fail": 1})
    assert body(found) == b"half"
    assert found[-1][1] == "InvokeComplete" and found[-1][2]["ErrorCode"] == "Unhandled"
    assert json.loads(found[-1][2]["ErrorDetails"])["errorType"] == "RangeError"


def test_what_is_large_and_what_is_not_streamed(lam, functions):
    name = streaming(functions, MemorySize=256)
    assert len(body(events(lam, name, {"words": [], "fill": 320}))) == 20 << 20
    whole = lam.invoke(FunctionName=name, Payload=b'{"words": ["\\"a", "b\\""]}')["Payload"].read()
    assert whole == b'"ab"', "the ordinary invoke gathers it"
    plain = functions("def handler(event, context):\n    return {'got': event}\n")
    assert json.loads(body(events(lam, plain, 7))) == {"got": 7}
    broken = functions("def handler(event, context):\n    raise KeyError('k')\n")
    found = events(lam, broken, {})
    assert body(found) == b"" and found[-1][2]["ErrorCode"] == "Unhandled"


def test_refusals(lam, functions):
    name = streaming(functions)
    assert error_of(lam.invoke_with_response_stream, FunctionName="missing")[:2] == ("ResourceNotFoundException", 404)
    assert error_of(lam.invoke_with_response_stream, FunctionName=name, Payload=b"{")[:2] == (
        "InvalidRequestContentException", 400)
    assert lam.invoke_with_response_stream(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
