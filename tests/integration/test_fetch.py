"""`certrad fetch` downloads and pins weights from a local server that answers as the hub does."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from certrad.models.backbones.base import load_backbone
from certrad.models.backbones.weights import file_sha256
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones
from certrad.models.types import BackboneCard
from certrad.workers.offline.fetch import fetch
from tests.support import bert_models, tiny_clip

REPOSITORY = "test/tiny"
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """One model repository, with faults to order and a record of the requests."""

    def __init__(self, files: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.published: dict[str, str] = {}
        self.broken_downloads = 0  # how many downloads of weights end before their announced length
        self.withheld = False  # weights are answered with 404
        self.downloads: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def describe(self) -> dict[str, Any]:
        siblings = []
        for path in sorted(self.files.iterdir()):
            file: dict[str, Any] = {"rfilename": path.name, "size": path.stat().st_size, "blobId": "0" * 40}
            if path.suffix in (".bin", ".safetensors"):
                sha256 = self.published.get(path.name, file_sha256(path))
                file["lfs"] = {"sha256": sha256, "size": path.stat().st_size, "pointerSize": 134}
            siblings.append(file)
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": REVISION, "siblings": siblings, "tags": []}


class Answer(BaseHTTPRequestHandler):
    """Answers the calls of huggingface_hub: model information, and HEAD and GET of `resolve`."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_file(with_body=False)

    def do_GET(self) -> None:
        if self.path.startswith(f"/api/models/{REPOSITORY}"):
            body = json.dumps(self.server.describe()).encode()
            self.head(200, len(body), {"Content-Type": "application/json"})
            self.wfile.write(body)
        else:
            self.send_file(with_body=True)

    def send_file(self, *, with_body: bool) -> None:
        path = self.server.files / self.path.rpartition("/")[2]
        if not self.path.startswith(f"/{REPOSITORY}/resolve/{REVISION}/") or not self.offered(path):
            self.head(404, 0, {"X-Error-Code": "EntryNotFound"})
            return
        content, etag = path.read_bytes(), hashlib.sha256(path.read_bytes()).hexdigest()
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.head(206 if asked else 200, len(content) - start, headers)
        if with_body:
            self.server.downloads.append((path.name, asked))
            if path.suffix == ".safetensors" and self.server.broken_downloads > 0:
                self.server.broken_downloads -= 1
                content, self.close_connection = content[: len(content) // 2], True
            self.wfile.write(content[start:])

    def offered(self, path: Path) -> bool:
        return path.is_file() and not (self.server.withheld and path.suffix == ".safetensors")

    def head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("repository")
    tiny_clip.write_hf_clip(directory)
    (directory / "README.md").write_text("a model card")
    return directory


@pytest.fixture
def hub(repository: Path) -> Iterator[Hub]:
    with Hub(repository) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def card() -> BackboneCard:
    return tiny_clip.card("hf_clip", hub=REPOSITORY)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits a second before each of its own five retries."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)


def refusal(card: BackboneCard, directory: Path, hub: Hub) -> str:
    with pytest.raises(Rejected) as caught:
        fetch(card, directory, endpoint=hub.url)
    return caught.value.code


def test_a_fetched_backbone_is_pinned_and_loads(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    fetched = fetch(card, tmp_path, endpoint=hub.url)
    sha256 = file_sha256(hub.files / "model.safetensors")
    assert fetched == replace(card, sha256=sha256)
    assert json.loads((tmp_path / "tiny" / "pin.json").read_text()) == {
        "hub": REPOSITORY,
        "revision": REVISION,
        "sha256": sha256,
        "weights": "model.safetensors",
    }
    assert load_backbone(card, tmp_path / "tiny").sha256 == sha256


def test_only_the_files_of_the_backbone_are_left(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    fetch(card, tmp_path, endpoint=hub.url)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [
        "config.json",
        "model.safetensors",
        "pin.json",
    ]


def test_an_installed_backbone_is_not_downloaded_again(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    first = fetch(card, tmp_path, endpoint=hub.url)
    hub.downloads.clear()
    assert fetch(card, tmp_path, endpoint=hub.url) == first
    assert not hub.downloads


def test_a_damaged_backbone_is_downloaded_again(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    first = fetch(card, tmp_path, endpoint=hub.url)
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert fetch(card, tmp_path, endpoint=hub.url) == first
    assert load_backbone(card, tmp_path / "tiny").sha256 == first.sha256


def test_another_revision_does_not_take_the_place_of_a_pinned_one(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    first = fetch(card, tmp_path / "models", endpoint=hub.url)
    (tmp_path / "models" / "tiny" / "model.safetensors").unlink()
    hub.files = tmp_path / "other"
    tiny_clip.write_hf_clip(hub.files, seed=1)
    assert file_sha256(hub.files / "model.safetensors") != first.sha256
    assert refusal(card, tmp_path / "models", hub) == "digest_mismatch"


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_breaks_once_does_not_fail_the_download(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    hub.broken_downloads = 1
    assert fetch(card, tmp_path, endpoint=hub.url).sha256 == file_sha256(hub.files / "model.safetensors")


@pytest.mark.usefixtures("impatient")
def test_a_failed_download_is_no_backbone_and_is_completed_later(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    hub.withheld = True
    assert refusal(card, tmp_path, hub) == "backbone_unavailable"
    assert not (tmp_path / "tiny").exists()
    hub.withheld = False
    hub.downloads.clear()
    fetch(card, tmp_path, endpoint=hub.url)
    assert hub.downloads == [("model.safetensors", None)]
    assert load_backbone(card, tmp_path / "tiny").sha256 == file_sha256(hub.files / "model.safetensors")


@pytest.mark.usefixtures("impatient")
def test_a_download_that_stays_truncated_is_no_backbone(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    hub.broken_downloads = 100
    assert refusal(card, tmp_path, hub) == "backbone_unavailable"
    assert not (tmp_path / "tiny").exists()
    hub.broken_downloads = 0
    fetch(card, tmp_path, endpoint=hub.url)
    assert load_backbone(card, tmp_path / "tiny").sha256 == file_sha256(hub.files / "model.safetensors")


def test_weights_that_differ_from_the_digest_of_the_hub_are_refused(
    hub: Hub, card: BackboneCard, tmp_path: Path
) -> None:
    hub.published["model.safetensors"] = "f" * 64
    assert refusal(card, tmp_path, hub) == "digest_mismatch"
    assert not list(tmp_path.iterdir())


def test_weights_that_differ_from_the_digest_of_the_card_are_refused(
    hub: Hub, card: BackboneCard, tmp_path: Path
) -> None:
    assert refusal(replace(card, sha256="0" * 64), tmp_path, hub) == "digest_mismatch"


def test_weights_that_do_not_load_are_refused(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    assert refusal(replace(card, image_size=64), tmp_path, hub) == "invalid_weights"
    assert not list(tmp_path.iterdir())


def test_pickled_weights_are_fetched_where_the_hub_has_no_others(card: BackboneCard, tmp_path: Path, hub: Hub) -> None:
    hub.files = tmp_path / "pickled"
    tiny_clip.write_hf_clip(hub.files, pickled=True)
    fetched = fetch(card, tmp_path / "models", endpoint=hub.url)
    assert fetched.weights == "pytorch_model.bin"
    assert load_backbone(card, tmp_path / "models" / "tiny").card == fetched


@pytest.mark.parametrize("hub_id", ["test/absent", "not a repository"])
def test_an_unknown_repository_is_unavailable(hub: Hub, card: BackboneCard, tmp_path: Path, hub_id: str) -> None:
    assert refusal(replace(card, hub=hub_id), tmp_path, hub) == "backbone_unavailable"


def test_a_repository_without_weights_is_unavailable(hub: Hub, card: BackboneCard, tmp_path: Path) -> None:
    hub.files = tmp_path
    (tmp_path / "config.json").write_text("{}")
    assert refusal(card, tmp_path / "models", hub) == "backbone_unavailable"


def test_an_embedded_backbone_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    embedded = shipped_backbones()["demo"]
    assert fetch(embedded, tmp_path, endpoint=hub.url) == embedded
    assert not hub.downloads


def test_files_that_only_the_operator_has_are_loaded_once_and_pinned(hub: Hub, tmp_path: Path) -> None:
    own = tiny_clip.card("open_clip", id="own", hub=None)
    tiny_clip.write_open_clip(tmp_path / "own")
    fetched = fetch(own, tmp_path, endpoint=hub.url)
    assert fetched.sha256 == file_sha256(tmp_path / "own" / own.weights)
    assert fetch(own, tmp_path, endpoint=hub.url) == fetched
    tiny_clip.write_open_clip(tmp_path / "own", seed=1)
    assert refusal(own, tmp_path, hub) == "digest_mismatch"
    assert not hub.downloads


def test_missing_files_of_the_operator_are_told_with_their_folder(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        fetch(tiny_clip.card("open_clip", id="own", hub=None), tmp_path, endpoint=hub.url)
    assert caught.value.code == "backbone_unavailable"
    assert caught.value.detail.endswith(f"put its files into {tmp_path / 'own'}.")


def test_the_tokenizer_of_biomedclip_comes_with_its_weights(tmp_path: Path) -> None:
    published = tmp_path / "published"
    bert_models.write_biomedclip(published)
    (published / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with Hub(published) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        card = bert_models.card("biomedclip", hub=REPOSITORY)
        try:
            fetched = fetch(card, tmp_path, endpoint=server.url)
        finally:
            server.shutdown()
            thread.join()
    assert fetched.sha256 == file_sha256(published / card.weights)
    loaded = load_backbone(fetched, tmp_path / card.id)
    assert loaded.tokenize("A scan") == [bert_models.WORDS.index(word) for word in ("A", "scan")]
