"""Uploading an export, by huggingface_hub's own calls, to a small server that answers as the hub does."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from thinwire.errors import ThinwireError, UsageError
from thinwire.export.hub import check_push, push


class Hub(BaseHTTPRequestHandler):
    """Takes commits; ``server.status`` other than 200 is its answer to everything."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        if self.server.status != 200:
            return self.answer({"error": "no"}, self.server.status)
        if self.path == "/api/repos/create":
            return self.answer({"url": f"{self.server.address}/org/name"})
        if self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            return self.answer({"files": [{**one, "uploadMode": "regular", "shouldIgnore": False} for one in files]})
        if self.path.endswith("/commit/main"):
            url = f"{self.server.address}/org/name/commit/abc"
            return self.answer({"commitOid": "abc", "commitUrl": url, "success": True})
        return self.answer({"errors": [], "warnings": []})  # the check of a card's metadata

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization"), b""))
        self.answer({"sha": "0" * 40, "id": "org/name", "siblings": []}, self.server.status)

    def answer(self, content, status=200):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address, server.status, server.asked = f"http://127.0.0.1:{server.server_port}", 200, []
    monkeypatch.setattr(constants, "ENDPOINT", server.address)  # what HF_ENDPOINT sets
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def committed(hub):
    """The files of the commit, by path."""
    (body,) = [body for path, _, body in hub.asked if path.endswith("/commit/main")]
    rows = [json.loads(line) for line in body.splitlines()]
    return {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in rows if row["key"] == "file"}


def test_an_export_is_uploaded_as_one_commit(hub, run, tmp_path, thinwire):
    code, _, err = thinwire("export", run / "r2", tmp_path / "out", "--push-to-hub", "org/name", "--private")
    assert code == 0, err
    assert f"uploaded: {hub.address}/org/name/commit/abc" in err
    ((token, body),) = [(token, body) for path, token, body in hub.asked if path == "/api/repos/create"]
    assert token == "Bearer hf_of_a_test"
    assert json.loads(body)["name"] == "name"
    assert json.loads(body)["organization"] == "org"
    assert "private" in body.decode()
    assert committed(hub) == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (
            401,
            UsageError,
            r"does not accept the token; make a token .* `hf auth login` \(the export is kept in .*out\)",
        ),
        (403, UsageError, r"the token may not write to org/name"),
        (
            400,
            ThinwireError,
            r"could not be uploaded \(.*\); the export is kept in .*: try again with `hf upload org/name",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_plain_message(hub, tmp_path, status, error, message):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("a card")
    hub.status = status
    with pytest.raises(error, match=message) as caught:
        push(tmp_path / "out", "org/name", private=False)
    assert type(caught.value) is error
    assert "hf_of_a_test" not in str(caught.value)
    assert (tmp_path / "out" / "README.md").exists()


def test_a_hub_out_of_reach_is_one_plain_message(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    with pytest.raises(ThinwireError, match=r"org/name could not be uploaded"):
        push(tmp_path, "org/name", private=False)


@pytest.mark.parametrize("name", ["name", "a/b/c", "org/na me", "-org/name"])
def test_a_name_that_no_repository_has_is_refused_before_anything_is_written(name, run, tmp_path, thinwire):
    code, _, err = thinwire("export", run / "r2", tmp_path / "out", "--push-to-hub", name)
    assert code == 2
    assert "--push-to-hub" in err
    assert not (tmp_path / "out").exists()


def test_a_missing_token_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"needs a token of the Hugging Face hub; make a token"):
        check_push("org/name")


def test_private_is_for_an_upload(run, tmp_path, thinwire):
    code, _, err = thinwire("export", run / "r2", tmp_path / "out", "--private")
    assert code == 2
    assert "--private is for --push-to-hub" in err
