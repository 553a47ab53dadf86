"""Container images made from nothing, in every form in which they come, and a registry that has them.

What runs in them is this machine's bash: a runtime of a few lines that does what an event says."""

import base64
import functools
import gzip
import hashlib
import http.server
import io
import json
import re
import subprocess
import tarfile
import threading
import time

RUNTIME = r"""
api=$AWS_LAMBDA_RUNTIME_API
call() { # method, path, body; the answer's body is in $body, its request id in $id
  exec 3<>"/dev/tcp/${api%:*}/${api#*:}"
  printf '%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3
  local length=0 line
  while IFS= read -r line <&3 && line=${line%$'\r'} && [ -n "$line" ]; do
    case ${line,,} in
      lambda-runtime-aws-request-id:*) id=${line#*: } ;;
      content-length:*) length=${line#*: } ;;
    esac
  done
  body=
  if [ "$length" -gt 0 ]; then IFS= read -r -N "$length" body <&3; fi
  exec 3>&-
}
while :; do
  call GET invocation/next ''
  printf -v event %b "${body:1:-1}"
  answer=$(eval "$event" 2>&1)
  answer=${answer//\\/\\\\}; answer=${answer//\"/\\\"}; answer=${answer//$'\n'/\\n}; answer=${answer//$'\t'/\\t}
  call POST "invocation/$id/response" "\"$answer\""
done
"""


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(files=(), *members):
    """A tar archive: of files by name, and of members as tarfile has them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in dict(files).items():
            data = content if isinstance(content, bytes) else content.encode()
            archive.addfile(member(name, size=len(data), mode=0o755), io.BytesIO(data))
        for one in members:
            archive.addfile(one, io.BytesIO(bytes(one.size)) if one.isreg() else None)
    return packed.getvalue()


def member(name, kind=tarfile.REGTYPE, link="", size=0, mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, mode
    return info


@functools.cache
def base():
    """bash, some tools, what they are linked with, and the runtime."""
    files = {"bootstrap.sh": RUNTIME}
    for program in ("/bin/bash", "/bin/cat", "/bin/ls", "/bin/id"):
        paths = [program, *re.findall(r"(/\S+) \(", subprocess.run(["ldd", program], capture_output=True, text=True).stdout)]
        files.update({path[1:]: open(path, "rb").read() for path in paths})
    return layer(files)


class Image:
    def __init__(self, *layers, compress=False, architecture=None, on=(), **settings):
        plain = [*on, *layers]
        self.diff_ids = [sha256(one) for one in plain]
        self.layers = [gzip.compress(one, 1) for one in plain] if compress else plain
        self.media_type = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
        self.architecture = architecture or {"aarch64": "arm64"}.get(subprocess.getoutput("uname -m"), "amd64")
        self.config = json.dumps({"architecture": self.architecture, "os": "linux", "config": settings,
                                  "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(self.config), "size": len(self.config)},
            "layers": [{"mediaType": self.media_type, "digest": sha256(one), "size": len(one)} for one in self.layers]}).encode()
        self.digest = sha256(self.manifest)
        self.blobs = {sha256(one): one for one in (self.config, self.manifest, *self.layers)}

    def descriptor(self, **more):
        return {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.digest, "size": len(self.manifest),
                "platform": {"os": "linux", "architecture": self.architecture}, **more}


def index(*images):
    return json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                       "manifests": [image.descriptor() for image in images]}).encode()


def layout_files(**images):
    """The files of an OCI layout, of images by their tags."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps({"schemaVersion": 2, "manifests": [
        image.descriptor(annotations={"org.opencontainers.image.ref.name": tag}) for tag, image in images.items()]}).encode()}
    for image in images.values():
        files.update({f"blobs/sha256/{digest[7:]}": blob for digest, blob in image.blobs.items()})
    return files


def write_layout(folder, **images):
    for name, content in layout_files(**images).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def docker_save(layout=False, **images):
    """What `docker save` writes: an OCI layout besides, or not, as it once did."""
    files, listed = (layout_files(**images) if layout else {}), []
    for name, image in images.items():
        names = [f"{diff_id[7:]}/layer.tar" for diff_id in image.diff_ids]
        if layout:
            names = [f"blobs/sha256/{sha256(one)[7:]}" for one in image.layers]
        files.update(zip(names, image.layers))
        files[f"{sha256(image.config)[7:]}.json"] = image.config
        listed.append({"Config": f"{sha256(image.config)[7:]}.json", "RepoTags": [f"{name}:latest"], "Layers": names})
    return layer({**files, "manifest.json": json.dumps(listed)})


class Registry:
    """A registry on this machine, which wants a token for what begins with `private`, bought with a name and password."""

    def __init__(self):
        self.manifests, self.blobs, self.asked = {}, {}, []
        # The digest of a blob that waits, and where manifests are said to be.
        self.slow = self.led = None
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.asked.append(self.path)
                self.serve(self.path.partition("?")[0], self.headers.get("Authorization", ""))

            def serve(self, path, authorization):
                found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
                if registry.led and found:
                    self.send_response(302)
                    self.send_header("Location", registry.led + path)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                if path == "/token":
                    basic = "Basic " + base64.b64encode(b"someone:a:password").decode()
                    return self.answer(200, b'{"token": "TOKEN"}') if authorization == basic else self.answer(401)
                if not found:
                    return self.answer(404)
                name, kind, which = found.groups()
                if name.startswith("private") and authorization != "Bearer TOKEN":
                    return self.answer(401, challenge=f'Bearer realm="{registry.url}/token",service="x",scope="repository:{name}:pull"')
                if kind == "blobs" and which == registry.slow:
                    while registry.slow:
                        time.sleep(0.05)
                if kind == "blobs" and which in registry.blobs:
                    return self.answer(200, registry.blobs[which])
                if kind == "manifests" and (name, which) in registry.manifests:
                    return self.answer(200, registry.manifests[name, which])
                return self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

            def answer(self, status, body=b"", challenge=None):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if challenge:
                    self.send_header("WWW-Authenticate", challenge)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def push(self, name, tag, *images):
        """One image, or an index of several."""
        document = images[0].manifest if len(images) == 1 else index(*images)
        for image in images:
            self.blobs.update(image.blobs)
            self.manifests[name, image.digest] = image.manifest
        self.manifests[name, tag] = self.manifests[name, sha256(document)] = document
        return f"{self.host}/{name}:{tag}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
