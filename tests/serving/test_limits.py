"""What the server refuses, and how it says so; headers; conditional and compressed answers."""

import gzip
import http.client
import json
from contextlib import closing
from email.message import Message
from urllib.parse import quote, unquote, urljoin

import pytest
from backports.zstd import decompress as zstd_decompress

from pipelines.query.batch.files import BatchFormat
from tests.forking import run_command
from tests.serving.conftest import Source
from tests.serving.kit import Served, export_path, served, with_query

pytestmark = [pytest.mark.integration, pytest.mark.standard]

TOKEN = "a-long-enough-token-for-tests-0123456789"


@pytest.fixture(scope="module")
def batch_id(hostile: Source) -> str:
    return hostile.snapshot.scan("batch_summaries").collect().sort("result_count")["batch_id"][-1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/export/nowhere", 404),
        ("/batches/nowhere", 404),
        ("/domains/2147483648/candidates", 404),
        ("/domains/-9223372036854775808/candidates", 404),
        ("/domains/9223372036854775807/candidates", 404),
        ("/domains?name=nowhere.example", 404),
        ("/entities/NOWHERE", 404),
        ("/nowhere", 404),
        ("/export/nowhere?format=pdf", 422),
        ("/domains/one/candidates", 422),
        ("/domains/9223372036854775808/candidates", 422),
        ("/domains", 422),
        (with_query("/domains", name="x" * 2001), 422),
        (with_query("/search", q="x"), 422),
        (with_query("/search", q="x" * 201), 422),
        (with_query("/search", q="com", limit=101), 422),
        (with_query("/batches", limit=1001), 422),
        (with_query("/batches", limit=0), 422),
        (with_query("/batches", offset=-1), 422),
        (with_query("/batches", sort="domain_id; DROP TABLE domains"), 422),
    ],
)
def test_what_is_refused_is_a_problem_document(hostile_server: Served, path: str, status: int) -> None:
    answer = hostile_server.ask(path)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = json.loads(answer.body)
    assert problem["status"] == status
    assert {"type", "title"} <= problem.keys()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(hostile_server: Served, method: str) -> None:
    answer = hostile_server.ask("/batches", method)
    assert (answer.status, answer.headers["content-type"]) == (405, "application/problem+json")


@pytest.mark.parametrize("text", ["' OR 1=1 --", '"; DROP TABLE domain_exports; --', "%00", "\\", "$1", "{}"])
def test_text_is_bound_never_run(hostile_server: Served, text: str) -> None:
    assert hostile_server.ask(with_query("/domains", name=text)).status == 404
    assert hostile_server.ask(with_query("/search", q=f"{text}{text}")).status == 200
    assert hostile_server.ask("/ready").status == 200


@pytest.mark.parametrize("path", ["/batches", "/domains?name=example.com", "/docs", "/health", "/nowhere"])
def test_every_answer_has_the_security_headers(hostile_server: Served, path: str) -> None:
    headers = hostile_server.ask(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_documentation_needs_no_network(hostile_server: Served) -> None:
    page = hostile_server.ask("/docs").body.decode()
    assert "http://" not in page
    assert "https://" not in page
    names = {part.split('"')[0] for key in ('src="', 'href="') for part in page.split(key)[1:]}
    assert names
    for name in names - {part for part in names if part.startswith("data:")}:
        assert hostile_server.ask(urljoin("/docs", name)).status == 200, name
    paths = json.loads(hostile_server.ask("/openapi.json").body)["paths"]
    assert {
        *(f"/files/{form}/{{batch_id}}" for form in BatchFormat),
        "/export/{batch_id}", "/batches", "/batches/{batch_id}", "/domains/{domain_id}/candidates", "/domains",
        "/entities/{lei_code}", "/search", "/health", "/ready",
    } == set(paths)  # fmt: skip


def test_the_root_leads_to_the_documentation(hostile_server: Served) -> None:
    answer = hostile_server.ask("/")
    assert (answer.status, answer.headers["location"]) == (307, "docs")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", "text/csv"),
        ("application/x-ndjson;q=0.5, text/*;q=0.9, application/json;q=0.1", "text/csv"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("*/*, application/json;q=0", "text/csv"),
        ("", "application/json"),
        (",", "application/json"),
        (", text/csv", "text/csv"),
    ],
)
def test_accept_chooses_the_format_of_a_batch(
    hostile_server: Served, batch_id: str, accept: str, media_type: str
) -> None:
    path = export_path(batch_id).partition("?")[0]
    answer = hostile_server.ask(path, Accept=accept)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    named = hostile_server.ask(f"{path}?format=ndjson", Accept=accept)
    assert named.headers["content-type"] == "application/x-ndjson", "what is named wins"
    assert named.headers["vary"] == "Accept-Encoding"


def test_a_header_may_stand_on_several_lines(hostile_server: Served, batch_id: str) -> None:
    path = export_path(batch_id).partition("?")[0]
    tags = {route: hostile_server.ask(route, Accept="text/csv").headers["etag"] for route in (path, "/batches")}

    def ask(route: str, lines: list[tuple[str, str]]) -> tuple[int, dict[str, str]]:
        with closing(http.client.HTTPConnection("127.0.0.1", hostile_server.port, timeout=60)) as connection:
            connection.putrequest("GET", route, skip_accept_encoding=True)
            for name, value in lines:
                connection.putheader(name, value)
            connection.endheaders()
            with connection.getresponse() as response:
                return response.status, {name.lower(): value for name, value in response.getheaders()}

    accepts = [("Accept", "text/html"), ("Accept", "text/csv"), ("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")]
    status, headers = ask(path, accepts)
    assert (status, headers["content-type"].partition(";")[0], headers["content-encoding"]) == (200, "text/csv", "gzip")
    assert ask("/batches?limit=1000", accepts)[1].get("content-encoding") == "gzip"
    for route, tag in tags.items():
        assert ask(route, [("Accept", "text/csv"), ("If-None-Match", '"other"'), ("If-None-Match", tag)])[0] == 304


def test_a_format_that_is_not_offered_is_not_acceptable(hostile_server: Served, batch_id: str) -> None:
    answer = hostile_server.ask(export_path(batch_id).partition("?")[0], Accept="text/html, image/*;q=0.8")
    assert (answer.status, answer.headers["content-type"]) == (406, "application/problem+json")
    assert "text/csv" in json.loads(answer.body)["detail"]


def test_each_format_has_an_address_of_its_own(hostile_server: Served, batch_id: str) -> None:
    for form in BatchFormat:
        own = hostile_server.ask(f"/files/{form}/{quote(batch_id, safe='')}")
        named = hostile_server.ask(export_path(batch_id, form))
        assert own.status == 200
        for header in ("content-type", "content-disposition", "etag"):
            assert own.headers[header] == named.headers[header]
        assert form is BatchFormat.XLSX or own.body == named.body, "a workbook holds the time of its making"


def test_a_known_answer_is_not_sent_again(hostile: Source, hostile_server: Served, batch_id: str) -> None:
    for path in (export_path(batch_id), export_path(batch_id, "xlsx"), "/batches", "/domains/1/candidates"):
        first = hostile_server.ask(path)
        tag = first.headers["etag"]
        assert hostile.snapshot.manifest.id in tag
        for given in (tag, f'"other", {tag}', "*", f"W/{tag}"):
            again = hostile_server.ask(path, If_None_Match=given)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert hostile_server.ask(path, If_None_Match='"other"').status == 200


NOT_THERE = (
    "/domains/987654321/candidates", "/domains?name=not.there.example", "/entities/NOTTHERE", "/batches/not-there",
    *(export_path("not-there", form) for form in ("json", "csv", "ndjson", "xlsx", "parquet")), "/nothing/at/all",
)  # fmt: skip


@pytest.mark.parametrize("path", NOT_THERE)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_there_is_not_unchanged(hostile_server: Served, batch_id: str, path: str, method: str) -> None:
    tags = [hostile_server.ask(known).headers["etag"] for known in ("/domains/1/candidates", export_path(batch_id))]
    for given in ("*", 'W/"x", *', *tags):
        answer = hostile_server.ask(path, method, If_None_Match=given)
        assert (answer.status, "etag" in answer.headers) == (404, False), given
        assert bool(answer.body) == (method == "GET")


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/domains/1/candidates", "/domains/99/candidates"),
        ("/batches?limit=1", "/batches?limit=2"),
        ("/search?q=example", "/search?q=hostile"),
        (export_path("hostile-batch"), export_path("ids")),
    ],
)
def test_the_tag_of_another_address_is_unknown(hostile_server: Served, path: str, other: str) -> None:
    tag = hostile_server.ask(path).headers["etag"]
    assert hostile_server.ask(path, If_None_Match=tag).status == 304
    assert hostile_server.ask(other, If_None_Match=tag).status == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/openapi.json", "/docs"])
def test_what_has_no_tag_is_sent_whatever_is_known(hostile_server: Served, path: str) -> None:
    assert hostile_server.ask(path, If_None_Match="*").status == 200


@pytest.mark.parametrize("path", ["/domains/x/candidates", "/search?q=x", "/batches?limit=0"])
def test_what_is_no_question_is_not_unchanged(hostile_server: Served, path: str) -> None:
    assert hostile_server.ask(path, If_None_Match="*").status == 422


@pytest.mark.parametrize("form", ["json", "csv", "ndjson", "xlsx", "parquet"])
def test_head_has_the_headers_of_get_and_no_body(hostile_server: Served, batch_id: str, form: str) -> None:
    path = export_path(batch_id, form)
    got, head = hostile_server.ask(path), hostile_server.ask(path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-disposition", "etag", "snapshot-id", "cache-control"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("form", ["json", "csv", "ndjson"])
def test_answers_are_compressed_where_the_client_takes_it(hostile_server: Served, batch_id: str, form: str) -> None:
    path = export_path(batch_id, form)
    plain = hostile_server.ask(path)
    assert "content-encoding" not in plain.headers
    for asked, used in (("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd;q=0.5", "gzip"), ("br", ""), ("gzip;q=0", "")):
        answer = hostile_server.ask(path, Accept_Encoding=asked)
        assert answer.headers.get("content-encoding", "") == used, asked
        unpack = {"gzip": gzip.decompress, "zstd": zstd_decompress, "": bytes}[used]
        assert unpack(answer.body) == plain.body
        assert answer.headers["vary"] == "Accept-Encoding"
    assert (
        hostile_server.ask(export_path(batch_id, "parquet"), Accept_Encoding="gzip").headers.get("content-encoding")
        is None
    )


def test_the_file_has_a_name(hostile: Source, hostile_server: Served) -> None:
    for batch in hostile.snapshot.scan("batch_summaries").collect()["batch_id"]:
        disposition = hostile_server.ask(export_path(batch, "csv"), "HEAD").headers["content-disposition"]
        parsed = Message()
        parsed["Content-Disposition"] = disposition
        assert parsed.get_content_disposition() == "attachment"
        name = unquote(parsed.get_filename() or "")
        assert name.endswith(".csv")
        assert not set(name) & set('/\\\r\n"\0'), name


def test_other_hosts_are_refused(hostile_server: Served) -> None:
    assert hostile_server.ask("/batches", Host="evil.example").status == 421
    assert hostile_server.ask("/batches", Host=f"localhost:{hostile_server.port}").status == 200


def test_web_pages_may_read_only_if_named(hostile: Source) -> None:
    with served(hostile.export_dir, API_CORS_ORIGINS="https://app.example") as server:
        named = server.ask("/batches", Origin="https://app.example").headers
        assert named["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-origin" not in server.ask("/batches", Origin="https://evil.example").headers
        asked = server.ask(
            "/batches", "OPTIONS", Origin="https://app.example", Access_Control_Request_Method="GET",
            Access_Control_Request_Headers="authorization",
        )  # fmt: skip
        assert asked.status == 200
        assert "authorization" in asked.headers["access-control-allow-headers"].lower()


def test_a_token_is_asked_for_once_it_is_set(hostile: Source) -> None:
    with served(hostile.export_dir, EXPORT_API_TOKEN=TOKEN) as server:
        assert server.ask("/health").status == 200
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
                      {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": "Bearer"}):  # fmt: skip
            for path in ("/batches", "/ready", "/openapi.json", "/nowhere", export_path("any")):
                answer = server.ask(path, **given)
                assert answer.status == 401, (path, given)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert TOKEN.encode() not in answer.body
        for path in ("/batches", "/ready", "/openapi.json"):
            assert server.ask(path, Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize(("token", "why"), [("x" * 15, "at least 16 characters"), ("x y" * 9, "without spaces")])
def test_a_token_that_is_none_is_refused(hostile: Source, token: str, why: str) -> None:
    settings = {"EXPORT_DIR": str(hostile.export_dir), "EXPORT_API_TOKEN": token}
    done = run_command(["serve", "--port", "0"], hostile.export_dir, settings)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "EXPORT_API_TOKEN" in said
    assert why in said
    assert token not in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104  the point of the test
def test_another_address_than_loopback_is_refused_without_a_token(hostile: Source, host: str) -> None:
    folder = hostile.export_dir
    done = run_command(["serve", "--host", host, "--port", "0"], folder, {"EXPORT_DIR": str(folder)})
    assert done.returncode == 1
    assert "EXPORT_API_TOKEN" in done.stderr


def test_before_the_first_export_it_is_alive_and_not_ready(tmp_path_factory: pytest.TempPathFactory) -> None:
    with served(tmp_path_factory.mktemp("nothing")) as server:
        assert server.ask("/health").status == 200
        for path in ("/ready", "/batches", export_path("any")):
            answer = server.ask(path)
            assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
