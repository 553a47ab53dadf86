"""What functions reach under each `worker.network`: a web server of this test on an address of this machine that is not
loopback, by address and by name, which a name server of this test knows; and the endpoint."""

import http.server
import pathlib
import re
import socket
import threading

import pytest

from attack_ground import Ground
from conftest import BIN, Server, without_namespaces, zip_of

FUNCTION = '''
import errno, os, socket, urllib.error, urllib.request

def handler(event, context):
    return [outcome(url) for url in event]

def outcome(url):
    if url == "endpoint":
        if "AWS_ENDPOINT_URL" not in os.environ:
            return "no endpoint"
        url = os.environ["AWS_ENDPOINT_URL"] + "/2015-03-31/functions/"
    credential = "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": credential}), timeout=5)
        return "functions" if b"Functions" in answer.peek() else answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        reason = error.reason
        return "unknown name" if isinstance(reason, socket.gaierror) else errno.errorcode.get(reason.errno, str(reason))
'''


class Internet:
    """A web server, and a name server that has this machine's address for every name below `test`."""

    def __init__(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("203.0.113.1", 9))
            except OSError:
                pytest.skip("this machine has no address but loopback")
            self.address = probe.getsockname()[0]
        self.visitors, self.asked = [], []
        internet = self

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                internet.visitors.append(self.headers["Host"])
                self.send_response(200)
                self.send_header("Content-Length", "8")
                self.end_headers()
                self.wfile.write(b"internet")

            def log_message(self, *_):
                pass

        self.web = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Page)
        self.port = self.web.server_address[1]
        self.names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.names.bind(("127.0.0.1", 0))
        self.name_server = "127.0.0.1:%d" % self.names.getsockname()[1]
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self):
        while True:
            query, sender = self.names.recvfrom(4096)
            end = query.index(0, 12)
            labels, at = [], 12
            while at < end:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            self.asked.append(".".join(labels))
            known, ipv4 = labels[-1] == "test", query[end + 1:end + 3] == b"\0\1"
            header = query[:2] + bytes([0x81, 0x80 if known else 0x83, 0, 1, 0, known and ipv4, 0, 0, 0, 0])
            record = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton(self.address)
            self.names.sendto(header + query[12:end + 5] + (record if known and ipv4 else b""), sender)


@pytest.fixture(scope="module")
def internet():
    internet = Internet()
    yield internet
    internet.web.shutdown()


#: Of the address, a listed name, the address again, a name that is not listed, and the endpoint.
POLICIES = {
    "open": ["internet", "internet", "internet", "internet", "functions"],
    "allow-list": ["ENETUNREACH", "internet", "internet", "unknown name", "functions"],
    "endpoint-only": ["ENETUNREACH", "unknown name", "ENETUNREACH", "unknown name", "functions"],
    "none": ["ENETUNREACH", "unknown name", "ENETUNREACH", "unknown name", "no endpoint"],
}


@pytest.mark.parametrize("kind", ["pool", "userns"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_reached(internet, policy, kind):
    internet.visitors.clear()
    internet.asked.clear()
    settings = {"NETWORK": policy, "NAME_SERVERS": f'["{internet.name_server}"]'}
    if policy == "allow-list":
        settings["ALLOW"] = f'["listed.test:{internet.port}", "{internet.address}:1"]'
    ground = Ground(kind, **{f"LAMBFOLD_WORKER__{name}": value for name, value in settings.items()})
    try:
        ground.start()
        assert re.search(r"Network +" + policy, ground.server.banner), ground.server.banner
        name = f"reaches-{policy}"
        ground.create(name, zip_of({"index.py": FUNCTION}), "python3.12", "index.handler", 256, 20, {})
        places = [internet.address, "listed.test", internet.address, "other.test"]
        urls = [f"http://{place}:{internet.port}/" for place in places]
        assert ground.invoke(name, [*urls, "endpoint"]) == POLICIES[policy]
        assert len(internet.visitors) == POLICIES[policy].count("internet")
        expected = {"open": {"listed.test", "other.test"}, "allow-list": {"listed.test"}}.get(policy, set())
        assert set(internet.asked) == expected, "the question itself is not passed on either"
        ground.close()
        log = pathlib.Path(f"{ground.server.data_dir}.log").read_text()
        told = [line for line in log.splitlines() if f"function:{name}:" in line and f"{internet.address}:{internet.port}" in line]
        if policy == "allow-list":
            assert [("denied" in line, "listed.test" in line) for line in sorted(told, key=lambda line: "denied" not in line)] \
                == [(True, False), (False, True), (False, True)], told
        else:
            assert not told
    finally:
        ground.remove()


def refused(tmp_path, binary=BIN, **settings):
    """What a server says that does not start."""
    server = Server(tmp_path / "data", settings=settings, binary=binary)
    server.start(wait=False)
    try:
        assert server.process.wait(timeout=20) != 0
    finally:
        server.kill()
    return pathlib.Path(f"{server.data_dir}.log").read_text()


@pytest.mark.parametrize("setting, value, said", [
    ("NETWORK", "closed", "closed"),
    ("NETWORK", "allow-list", "needs a list"),
    ("ALLOW", '["10.1.2.3/16"]', "10.1.2.3/16"),
    ("NAME_SERVERS", '["resolver.example.com"]', "resolver.example.com"),
])
def test_settings_that_say_nothing_sensible(tmp_path, setting, value, said):
    more = {"LAMBFOLD_WORKER__NETWORK": "allow-list"} if setting == "ALLOW" else {}
    assert said in refused(tmp_path, **{**more, f"LAMBFOLD_WORKER__{setting}": value})


def test_a_policy_that_cannot_be_enforced_is_refused(tmp_path):
    """Where no namespaces can be made the level is `process`. Only `open` starts there, and says what it is."""
    limited = without_namespaces(tmp_path)
    for policy in ("allow-list", "endpoint-only", "none"):
        allow = {"LAMBFOLD_WORKER__ALLOW": '["example.com"]'} if policy == "allow-list" else {}
        said = refused(tmp_path, limited, LAMBFOLD_WORKER__NETWORK=policy, **allow)
        assert "worker.network" in said and f"'{policy}' cannot be enforced at isolation process" in said, said
    server = Server(tmp_path / "data", binary=limited).start()
    assert re.search(r"Isolation +process", server.banner) and "this host's, all of it" in server.banner
    assert server.stop() == 0
