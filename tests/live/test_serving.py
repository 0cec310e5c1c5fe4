"""The server: what it answers, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from written_runs import Fake

from landform import live
from landform.errors import BadInput
from landform.live._guard import is_ours, names_of
from landform.live._pages import Pages


def written(place: Path, fake: Any) -> Path:
    """A folder of runs, with something beside it that nobody is to see."""
    runs = place / "runs"
    for name, rate in (("one", 0.01), ("two", 0.05), ("deep/one", 0.1)):
        fake(runs / name, rate=rate).record(0, 10, 40, 80).close()
    fake(runs / "one" / "children" / "000000010-0").record(0, 10).close()
    fake(place / "secret").record(0, 10).close()
    (place / "secret.txt").write_text("the secret itself")
    return runs


@pytest.fixture
def folder(tmp_path: Path, fake: Any) -> Path:
    """A folder that a test may change."""
    return written(tmp_path, fake)


@pytest.fixture
def server(folder: Path) -> Iterator[live.Server]:
    with live.serve(folder, port=0) as found:
        yield found


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Server]:
    """A server of a folder that nobody changes."""
    with live.serve(written(tmp_path_factory.mktemp("still"), Fake), port=0) as found:
        yield found


def ask(
    server: live.Server, path: str, method: str = "GET", *, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def raw(server: live.Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        found = b""
        while part := line.recv(1 << 16):
            found += part
    return found


def test_the_list_of_runs(server: live.Server, folder: Path) -> None:
    status, headers, text = ask(server, "/")
    assert status == 200
    assert re.findall(r'data-key="([^"]*)"', text) == ["deep/one", "one", "two"]
    assert "1 child" in text
    assert "lr 0.05" in text  # in what they differ
    assert '<script src="live.js"' in text
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert 'value="two" aria-label="compare two" checked' in ask(server, "/?run=two")[2]
    rows = ask(server, "/rows")[2]
    assert rows.count("<polyline") == 3


def test_what_has_not_changed_is_not_sent_again(server: live.Server, folder: Path, fake: Any) -> None:
    tag = ask(server, "/rows")[1]["ETag"]
    status, _, text = ask(server, "/rows", If_None_Match=tag)
    assert (status, text) == (304, "")
    fake(folder / "third").record(0).close()
    deadline = threading.Event()
    for _ in range(100):
        status, headers, text = ask(server, "/rows", If_None_Match=tag)
        if status == 200:
            break
        deadline.wait(0.05)
    assert status == 200
    assert 'data-key="third"' in text
    assert headers["ETag"] != tag


def test_rows_are_filled_in_anew_only_when_something_has_happened(folder: Path, fake: Any) -> None:
    pages = Pages(live.Runs(folder), 2.0)
    for place in folder.rglob("*"):
        if place.is_dir() or place.name == "run.json":
            os.utime(place, (1e9, 1e9))
    first = pages.rows()
    time.sleep(0.6)  # a listing is good for half a second
    assert pages.rows() is first
    fake(folder / "late").record(0).close()
    time.sleep(0.6)
    assert pages.rows() is not first


def test_the_report_of_a_run(still: live.Server) -> None:
    status, headers, text = ask(still, "/page?run=one")
    assert status == 200
    assert "<h1>one</h1>" in text
    assert '<script src="plotly.js"></script>' in text
    assert len(text) < 500_000
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "connect-src" not in headers["Content-Security-Policy"]  # nothing: it may ask nobody for anything
    around = ask(still, "/show?run=one")[2]
    assert 'src="page?run=one"' in around
    assert 'href="show?run=one/children/000000010-0"' in around
    assert "<h1>000000010-0</h1>" in ask(still, "/page?run=one/children/000000010-0")[2]
    library = ask(still, "/plotly.js")
    assert library[0] == 200
    assert "plotly.js" in library[2][:200]


def test_runs_side_by_side(server: live.Server, folder: Path) -> None:
    status, _, text = ask(server, "/page?run=one&run=two")
    assert status == 200
    assert "<h1>one and two</h1>" in text
    assert "--out compare.html" in text
    # Two of one name are told apart by their folders.
    assert "deep/one" in ask(server, "/page?run=one&run=deep/one")[2]
    assert 'src="page?run=one&amp;run=two"' in ask(server, "/show?run=one&run=two")[2]
    for path, said in (
        ("/page", "No run is named"),
        ("/page?run=nothing", "There is no run"),
        ("/show?run=one&run=nothing", "There is no run"),
    ):
        status, _, text = ask(server, path)
        assert status == 404
        assert said in text


def test_a_page_is_made_anew_when_there_is_more(server: live.Server, folder: Path, fake: Any) -> None:
    run = fake(folder / "new").record(0, 10)
    path = "/page?run=new"
    deadline = time.monotonic() + 30
    while (found := ask(server, path))[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.05)  # what is new is listed half a second later
    _, headers, text = found
    assert "2 recorded times" in text
    before = re.search(r'data-mark="([^"]*)"', ask(server, "/bar?run=new")[2])
    assert ask(server, path)[2] == text
    assert ask(server, path, If_None_Match=headers["ETag"])[0] == 304
    run.record(20)
    assert "3 recorded times" in ask(server, path)[2]
    after = re.search(r'data-mark="([^"]*)"', ask(server, "/bar?run=new")[2])
    assert before
    assert after
    assert before[1] != after[1]
    run.close()


def test_names_that_mean_something_in_html_or_addresses(tmp_path: Path, fake: Any) -> None:
    runs = tmp_path / "runs"
    hard = "<b>a&b</b>+ %2e #?\"'"
    fake(runs / hard).record(0, 10).close()
    fake(runs / "plain").record(0, 10).close()
    with live.serve(runs, port=0) as server:
        text = ask(server, "/")[2]
        assert "<b>a" not in text
        link = re.search(r'href="(show\?run=%3C[^"]*)"', text)
        assert link is not None
        assert ask(server, "/" + link[1])[0] == 200
        page = ask(server, "/page?run=" + quote(hard, safe=""))
        assert page[0] == 200
        assert "<b>a" not in page[2]
        assert ask(server, "/page?run=plain&run=" + quote(hard, safe=""))[0] == 200
        # A form sends blanks as plus signs.
        assert ask(server, "/page?run=" + quote(hard, safe=" ").replace(" ", "+"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt", "/....//secret.txt",
        "//etc/passwd", "/etc/passwd", "/./etc/passwd", "/%00", "/one", "/one/run.json", "/runs/one/run.json",
        "/live.css/../../secret.txt", "/live.css%00", "/static/../live.css", "/\\..\\secret.txt", "/live.py",
        "/_server.py",
        "/page?run=../secret", "/page?run=%2e%2e/secret", "/page?run=..%2fsecret", "/page?run=one/../../secret",
        "/page?run=one%2f..%2f..%2fsecret", "/page?run={tmp}/secret", "/page?run=//{tmp}/secret", "/page?run=one%00",
        "/page?run=..%00/secret", "/page?run=%252e%252e/secret", "/page?run=..%5csecret", "/page?run=one/",
        "/page?run=one&run=../secret", "/show?run=../secret", "/bar?run=../secret", "/page?run=%ff%fe",
        "/page?run=~root", "/page?run=file:///etc/passwd",
    ],
)  # fmt: skip
def test_nothing_outside_can_be_asked_for(still: live.Server, path: str) -> None:
    beside = still.runs.root.parent
    found = raw(
        still, f"GET {path.format(tmp=beside)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert found.startswith(b"HTTP/1.1 404")
    assert b"secret itself" not in found
    assert b"root:" not in found


def test_links_out_of_the_folder(tmp_path: Path, folder: Path) -> None:
    (folder / "linked").symlink_to(tmp_path / "secret")
    record = folder / "two" / "points" / "000000090.safetensors"
    record.symlink_to(tmp_path / "secret" / "points" / "000000010.safetensors")
    (folder / "one" / "atlas").symlink_to(tmp_path)
    with live.serve(folder, port=0) as server:
        text = ask(server, "/")[2]
        assert 'data-key="linked"' not in text
        assert "since they lead out of this folder: linked, one/atlas." in text
        assert ask(server, "/page?run=linked")[0] == 404
        for path in ("/page?run=two", "/page?run=one", "/page?run=deep/one&run=two"):
            status, _, text = ask(server, path)
            assert status == 404
            assert "leads out of" in text
        assert ask(server, "/page?run=deep/one")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1", 200), ("LOCALHOST", 200), ("[::1]", 200), ("127.0.0.1:9999", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403),
        ("evil.example:80", 403),
        ("192.168.1.7", 403), ("localhost@evil.example", 403), ("evil.example/localhost", 403), ("", 403),
        ("[::1", 403),
        ("localhost:port", 403), ("127.1", 403), ("2130706433", 403), ("localhost.", 403), ("0.0.0.0", 403),
    ],
)  # fmt: skip
def test_foreign_hosts_are_refused(still: live.Server, host: str, status: int) -> None:
    for path in ("/", "/rows", "/page?run=one", "/live.js"):
        found = raw(still, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert found.startswith(f"HTTP/1.1 {status}".encode()), found[:300]
        assert (b"one" in found) or status == 403


def test_one_host_is_told(still: live.Server) -> None:
    for head in (b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: evil.example\r\nHost: localhost\r\n"):
        found = raw(still, b"GET / HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 403")
    assert raw(still, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert raw(still, b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 404")


def test_foreign_pages_are_refused(still: live.Server) -> None:
    own = f"http://localhost:{still.port}"
    assert ask(still, "/rows", Origin=own)[0] == 200
    for origin in ("http://evil.example", "https://localhost", "null", "http://localhost.evil.example", "file://"):
        assert ask(still, "/rows", Origin=origin)[0] == 403
    assert ask(still, "/live.js", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert ask(still, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200  # a link to it
    assert ask(still, "/", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0] == 200
    headers = ask(still, "/rows")[1]
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_only_get_and_head(still: live.Server) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        status, headers, _ = ask(still, "/", method)
        assert status == 405
        assert headers["Allow"] == "GET, HEAD"
    whole, head = ask(still, "/"), ask(still, "/", "HEAD")
    assert (head[0], head[2]) == (200, "")
    assert head[1]["Content-Length"] == whole[1]["Content-Length"]
    assert ask(still, "/", body=b"GET /page HTTP/1.1\r\n\r\n")[0] == 400
    assert raw(still, b"nonsense\r\n\r\n").count(b"makes no sense") == 1


def test_other_machines_are_let_in_only_when_asked_for(folder: Path) -> None:
    with live.serve(folder, port=0) as server:
        assert server.is_local
        assert server.url == f"http://127.0.0.1:{server.port}/"
        assert server._http.server_address[0] == "127.0.0.1"
    names = names_of("0.0.0.0")
    assert is_ours("192.168.1.7:8420", "0.0.0.0", names)  # no name, so nobody can have pointed it here
    assert is_ours(socket.gethostname(), "0.0.0.0", names)
    assert not is_ours("evil.example", "0.0.0.0", names)
    assert is_ours("box.lan:80", "box.lan", names_of("box.lan"))
    assert not is_ours("box.lan", "127.0.0.1", names_of("127.0.0.1"))
    assert not is_ours("192.168.1.7", "127.0.0.1", names_of("127.0.0.1"))
    with live.serve(folder, host="0.0.0.0", port=0) as server:
        assert not server.is_local
        assert ask(server, "/")[0] == 200
        assert ask(server, "/", Host="evil.example")[0] == 403


def test_misuse(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        live.serve(folder, port=0) as server,
        pytest.raises(BadInput, match=f"Port {server.port} of 127.0.0.1 is taken"),
    ):
        live.serve(folder, port=server.port)
    with pytest.raises(BadInput, match="is not there"):
        live.serve(tmp_path / "nowhere", port=0)
    for port in (-1, 65_536):
        with pytest.raises(BadInput, match="is no port"):
            live.serve(folder, port=port)
    with pytest.raises(BadInput, match="kept up every 0 seconds"):
        live.serve(folder, port=0, every=0)
    for host in ("203.0.113.7", "no such name"):
        with pytest.raises(BadInput, match="no address of this machine"):
            live.serve(folder, host=host, port=0)
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(BadInput, match="report"):
        live.serve(folder, port=0)


def _asked_again(line: http.client.HTTPConnection) -> None:
    line.request("GET", "/live.css")
    line.getresponse()


def test_closing_gives_the_port_back(folder: Path) -> None:
    server = live.serve(folder, port=0)
    port = server.port
    assert ask(server, "/")[0] == 200
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    line.request("GET", "/live.css")
    assert line.getresponse().read()
    server.close()
    server.wait()
    # A line that was kept open is none any more.
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        _asked_again(line)
    line.close()
    with live.serve(folder, port=port) as again:
        assert again.port == port


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with live.serve(tmp_path, port=0) as server:
        status, _, text = ask(server, "/")
        assert status == 200
        assert "There is no run in this folder yet" in text


def test_a_run_without_records_and_a_damaged_one_have_a_sentence(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "empty").close()
    fake(tmp_path / "bad").record(0).close()
    (tmp_path / "bad" / "run.json").write_text(json.dumps({"schema": 1}))
    with live.serve(tmp_path, port=0) as server:
        assert "unreadable" in ask(server, "/")[2]
        assert ask(server, "/page?run=empty")[0] == 200
        assert "damaged" in ask(server, "/page?run=bad")[2]
        assert ask(server, "/show?run=bad")[0] == 200


def test_many_at_once(still: live.Server) -> None:
    found: list[int] = []
    paths = ["/", "/rows", "/page?run=one", "/page?run=two", "/page?run=one&run=two", "/bar?run=one"] * 4
    threads = [threading.Thread(target=lambda p=path: found.append(ask(still, p)[0])) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [200] * len(paths)
