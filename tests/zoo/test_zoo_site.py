"""The web site of a registry: what is on it, what hostile registries can do to it, and where it is written."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_page import HOSTILE, Page
from served import Served

import zoo
from zoo.pages.site import FILES, make_site
from zoo.pages.site_charts import block_chart, yaw_chart
from zoo.pages.site_pages import checkpoints

Make = Callable[..., Path]
Edit = Callable[[Callable[[Any], None]], None]

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + b"0" * 16, b"\xff\xd8\xff\xe0" + b"0" * 16


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert page.open == []
    return text, page


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def shelf(registry: Path, checkpoint: Make, metric: Make, tmp_path: Path) -> Path:
    """Two checkpoints, three versions in use and one withdrawn."""
    weights = checkpoint()
    (tmp_path / "a").write_bytes(PNG)
    (tmp_path / "b").write_bytes(JPEG)
    for version in ("1.0.0", "1.9.0", "1.10.0"):
        zoo.publish(registry, weights=weights, name="face", version=version, metrics=[metric(weights)])
    zoo.publish(
        registry,
        weights=weights,
        name="old",
        version="0.1.0",
        metrics=[metric(weights), metric(weights, source="aflw", normaliser="box", nme=7.5)],
        pictures=[(tmp_path / "a", "a chart"), (tmp_path / "b", "a photo")],
        licence="CC-BY-4.0",
        limits=["only at night"],
        mirrors=["https://example.org/old"],
        morphable_where="https://example.org/model",
    )
    zoo.yank(registry, "face", "1.10.0", "trained on test faces")
    return registry


def test_the_site(shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    assert make_site(shelf, out, "https://example.org/zoo") == 4
    versions = {f"face/{version}/index.html" for version in ("1.0.0", "1.9.0", "1.10.0")}
    pictures = {"old/0.1.0/picture-1.png", "old/0.1.0/picture-2.jpg"}
    pages = {"index.html", "face/index.html", "old/index.html", "old/0.1.0/index.html", *versions}
    assert files_of(out) == {FILES, *pages, *pictures}
    assert (out / "old/0.1.0/picture-1.png").read_bytes() == PNG

    _, page = read(out / "index.html")
    rows = page.text.split(" NME licence ", 1)[1]
    assert rows.startswith("face 1.9.0 ibug68 2d compact 114 px ")
    for part in (
        "3.25 % of the tight box 300w:sample, val, tight boxes not stated",
        "old 0.1.0",
        "CC-BY-4.0",
        "Show withdrawn (1)",
    ):
        assert part in rows, part
    assert rows.index("face@1.10.0 trained on test faces") > rows.index("Show withdrawn")

    _, page = read(out / "old/0.1.0/index.html")
    for part in (
        "7.5",
        "boxes tight: the box around the labelled points",
        "normaliser box: √(w·h) of the data set's own box",
        "only at night",  # of the card
        "epochs 3",
        "CC-BY-4.0",
        "https://example.org/model",
        "builtin, fingerprint ffffffffffffffff",
        "pifa align old@0.1.0 photo.jpg --boxes boxes.csv --registry https://example.org/zoo",
        "pifa zoo get old@0.1.0 --registry https://example.org/zoo --out old-0.1.0.safetensors",
    ):
        assert part in page.text, part
    said = [value for name, value in page.attributes if name == "aria-label"]
    assert "Error by yaw, NME % by absolute yaw. 0-30°: 3.00, 30-60°: 4.00, 60-90°: –" in said
    assert "Error after each block, NME % by block (P⁰: before the first). P⁰: 9.00, 1: 5.50, 2: 3.25" in said
    assert ("href", "https://example.org/zoo/old/0.1.0/weights.safetensors") in page.attributes
    assert ("alt", "a photo") in page.attributes
    weights = zoo.resolve(zoo.Registry(shelf).index(), "old").file("weights.safetensors")
    assert weights is not None
    assert f"echo '{weights.sha256} old-0.1.0.safetensors' | sha256sum --check" in page.text

    _, page = read(out / "face/1.10.0/index.html")
    assert "Withdrawn by its publisher: trained on test faces Newest in use: 1.9.0" in page.text
    assert "There is a newer version: 1.9.0" in read(out / "face/1.0.0/index.html")[1].text
    _, page = read(out / "face/index.html")
    assert page.text.index("1.10.0") < page.text.rindex("1.9.0") < page.text.rindex("1.0.0")
    assert "face 1.9.0" in page.text
    assert "withdrawn: trained on test faces" in page.text


def test_every_link_leads_somewhere_on_the_site(shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    make_site(shelf, out)
    seen = 0
    for path in out.rglob("*.html"):
        for name, value in read(path)[1].attributes:
            if name in ("href", "src") and not (value or "").startswith("https://"):
                assert (path.parent / str(value)).is_file(), (path, value)
                seen += 1
    assert seen > 20


def test_the_newest_is_the_one_that_is_fetched(shelf: Path) -> None:
    index = zoo.Registry(shelf).index()
    for found in checkpoints(index):
        assert found.newest == zoo.resolve(index, found.name)


def test_the_policy_allows_the_sites_own_script_alone(shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    make_site(shelf, out)
    for path in out.rglob("*.html"):
        text, page = read(path)
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy == (
            "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        )
        assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_without_a_script_the_list_is_whole(shelf: Path, tmp_path: Path) -> None:
    """The search box is hidden until the script shows it, and nothing else is hidden."""
    make_site(shelf, tmp_path / "site")
    text, _ = read(tmp_path / "site" / "index.html")
    hidden = re.findall(r"<[^>]* hidden[ >]", re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL))
    assert hidden == ['<p id="finder" hidden>']


def test_which_registry_the_commands_name(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commands(address: str | None) -> str:
        make_site(shelf, tmp_path / "site", address, overwrite=True)
        return read(tmp_path / "site" / "face" / "index.html")[1].text

    # The path of this folder would help nobody else.
    assert "--boxes boxes.csv --registry REGISTRY copy" in commands(None)
    assert str(shelf) not in commands(None)
    assert "--registry 'https://example.org/a b;x' --out" in commands("https://example.org/a b;x")
    monkeypatch.setattr("zoo.registry.BUNDLED", shelf)
    assert "--boxes boxes.csv copy" in commands(None)


def test_the_site_of_a_registry_on_the_web(served: Served, tmp_path: Path) -> None:
    """Its commands name the address it was read from, and the weights are not fetched for it."""
    assert make_site(served.at("plain"), tmp_path / "site") == 1
    _, page = read(tmp_path / "site" / "face" / "index.html")
    assert f"pifa zoo get face@1.0.0 --registry {served.at('plain')} --out" in page.text
    assert not served.nginx.asked("/plain/registry/face/1.0.0/weights.safetensors")


def test_a_password_is_not_published(served: Served, tmp_path: Path) -> None:
    address = served.at("plain").replace("://", "://me:SECRET@")
    for number, given in enumerate((None, address)):
        out = tmp_path / f"site-{number}"
        make_site(address, out, given)
        for path in out.rglob("*.html"):
            text, page = read(path)
            assert "SECRET" not in text
            assert path.parent == out or f"--registry {served.at('plain')} --out" in page.text


def test_a_registry_without_checkpoints(registry: Path, tmp_path: Path) -> None:
    assert make_site(registry, tmp_path / "site") == 0
    _, page = read(tmp_path / "site" / "index.html")
    assert "There is no checkpoint here yet." in page.text


def test_a_hostile_registry(shelf: Path, edit_index: Edit, tmp_path: Path) -> None:
    long = "w" * 2000

    def change(index: Any) -> None:
        for entry in index["entries"]:
            entry |= dict.fromkeys(("preset", "scheme", "boxes", "licence", "source_commit", "architecture"), HOSTILE)
            entry["morphable"] = {"name": HOSTILE, "fingerprint": long, "where": f"javascript:{HOSTILE}"}
            entry["training_data"] = [HOSTILE, long]
            entry["mirrors"] = ["https://a/\"onload='x'<b>", "http://example.org"]
            entry["yanked"] = HOSTILE if entry["version"] == "1.0.0" else None
            for picture in entry["pictures"]:
                picture["caption"] = HOSTILE
            entry["metrics"] = [
                {
                    **{"faces": 5, "normaliser": HOSTILE, "nme": 10.0**n, "source": HOSTILE, "subset": long},
                    **{"boxes": HOSTILE, "landmarks": HOSTILE, "nme_initial": -1e308, "scheme": [HOSTILE]},
                    **{"nme_per_block": [1e308, None, -5.0, 0.0] * 40, "crops": HOSTILE, "skipped": True},
                    **{"nme_by_yaw": {f"{HOSTILE}{i}": 5e-324 for i in range(50)}, HOSTILE: {HOSTILE: HOSTILE}},
                    **{"nme_interval": {"low": HOSTILE, "high": 1, "people": None}, "visibility_accuracy": [HOSTILE]},
                }
                for n in range(60)
            ]

    edit_index(change)
    out = tmp_path / "site"
    make_site(shelf, out)
    for path in out.rglob("*.html"):
        text, page = read(path)
        assert "\u202e" not in text
        assert page.tags.count("script") == 1
        assert not {"iframe", "object", "link", "base", "form"} & set(page.tags)
        assert {name for name, _ in page.attributes if name.startswith("on")} == set()
        assert {value for name, value in page.attributes if name == "src"} <= {
            *("picture-1.png", "picture-2.jpg", "0.1.0/picture-1.png", "0.1.0/picture-2.jpg")
        }
        links = [str(value) for name, value in page.attributes if name == "href"]
        assert [link for link in links if not re.fullmatch(r"(\.\./)*([a-z0-9.]+/)*index\.html", link)] == []
        assert len(text) < 2**20
        assert "alert(1)" in page.text
    assert read(out / "old/0.1.0/index.html")[1].tags.count("details") == 60


def test_a_card_of_a_hostile_registry(shelf: Path, edit_index: Edit, tmp_path: Path) -> None:
    """What the site takes over from a card is as safe as the card's own page."""
    card = (
        b"# x\n\n## Limits\n\n- <script>alert(1)</script> [x](javascript:y) ![z](https://evil.example/z.png)\n\n## y\n"
    )
    file = {"name": "card.md", "sha256": hashlib.sha256(card).hexdigest(), "size": len(card)}

    def change(index: Any) -> None:
        (entry,) = (entry for entry in index["entries"] if entry["name"] == "old")
        entry["files"] = [file if other["name"] == "card.md" else other for other in entry["files"]]

    edit_index(change)
    (shelf / "old/0.1.0/card.md").write_bytes(card)
    make_site(shelf, tmp_path / "site")
    _, page = read(tmp_path / "site/old/0.1.0/index.html")
    assert "<script>alert(1)</script> [x](javascript:y) z" in page.text
    assert page.tags.count("script") == 1
    assert "300W, 3148 faces" in page.text  # the card says nothing of training, the entry does


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<svg onload='alert(1)'/>" + b" " * 40, "expected a PNG or JPEG picture"),
        (None, "expected SHA-256"),
    ],
)
def test_a_picture_that_is_none(
    shelf: Path, edit_index: Edit, tmp_path: Path, data: bytes | None, message: str
) -> None:
    """Nothing is left of the site; the picture's entry and file are named."""
    path = shelf / "old/0.1.0/picture-1.png"
    path.write_bytes(data or PNG.replace(b"0", b"1"))

    def change(index: Any) -> None:
        for entry in index["entries"]:
            for file in entry["files"]:
                if file["name"] == "picture-1.png" and data is not None:
                    file |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    edit_index(change)
    before = set(tmp_path.iterdir())
    with pytest.raises(zoo.ZooError, match=rf"picture-1\.png.*{message}"):
        make_site(shelf, tmp_path / "site")
    assert set(tmp_path.iterdir()) == before


def test_only_a_site_of_ours_is_replaced(shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "site"
    make_site(shelf, out)
    with pytest.raises(zoo.ZooError, match="give --overwrite"):
        make_site(shelf, out)
    before = files_of(out)
    (out / "index.html").write_text("damaged")
    zoo.yank(shelf, "old", "0.1.0", "old")
    make_site(shelf, out, overwrite=True)
    assert files_of(out) == before
    assert "Show withdrawn (2)" in read(out / "index.html")[1].text
    assert {path.name for path in out.parent.iterdir()} == {"site"}

    (out / "face" / "notes.txt").write_text("mine")
    with pytest.raises(zoo.ZooError, match=r"expected an empty folder or a site .* found 'face/notes\.txt' in it"):
        make_site(shelf, out, overwrite=True)
    assert (out / "face" / "notes.txt").read_text() == "mine"


def test_other_folders_are_never_deleted(shelf: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    make_site(shelf, mine)  # empty folders may be used
    assert (mine / "index.html").is_file()
    for name, make in {
        "full": lambda path: (path.mkdir(), (path / "a").write_text("x")),
        "folders": lambda path: (path / "a" / "b").mkdir(parents=True),
        "file": lambda path: path.write_text("x"),
        "link": lambda path: path.symlink_to(mine, target_is_directory=True),
        "fake": lambda path: (path.mkdir(), (path / FILES).write_text("b\n"), (path / "a").write_text("x")),
        "linked": lambda path: (path.mkdir(), (path / FILES).write_text("b\n"), (path / "a").symlink_to(mine)),
    }.items():
        make(tmp_path / name)
        with pytest.raises(zoo.ZooError, match=f"{name}: expected"):
            make_site(shelf, tmp_path / name, overwrite=True)
        assert (tmp_path / name).exists()
    for inside in (shelf, shelf / "site"):
        with pytest.raises(zoo.ZooError, match="outside the registry"):
            make_site(shelf, inside)
    assert not (shelf / "site").exists()


def test_a_name_that_is_the_sites_own(published: Path, edit_index: Edit, tmp_path: Path) -> None:
    edit_index(lambda index: index["entries"][0].update(name="index.html"))
    with pytest.raises(zoo.ZooError, match=r"index\.html"):
        make_site(published, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_charts_of_odd_numbers(metric: Make) -> None:
    def of(**changes: Any) -> zoo.Metric:
        return zoo.Metric.model_validate_json(metric(**changes).read_text())

    assert block_chart(of(nme_per_block=[])) is None
    assert block_chart(of(nme_per_block=None)) is None
    assert yaw_chart(of(nme_by_yaw=None)) is None
    chart = block_chart(of(nme_per_block=[4.0, None, 2.0, 1.0], nme_initial=8.0))
    assert chart is not None
    assert [mark.y for mark in chart.marks] == [30.0, 90.0, 150.0, 120.0, 135.0]
    assert [mark.value for mark in chart.marks] == ["8.00", "4.00", "none", "2.00", "1.00"]
    assert len(chart.lines) == 2
    zero = yaw_chart(of(nme_by_yaw={"0-30": 0.0, "30-60": None}))
    assert zero is not None
    assert {mark.y for mark in zero.marks} == {150.0}
    many = yaw_chart(of(nme_by_yaw={str(i): float(i) for i in range(100)}))
    assert many is not None
    assert len(many.marks) == 24
    assert many.text.endswith("23°: 23.00, and 76 more")
    assert max(mark.y for mark in many.marks) <= 150
    assert json.dumps([mark.x for mark in many.marks]) == json.dumps(sorted(mark.x for mark in many.marks))


def test_a_thousand_checkpoints_are_one_small_list(published: Path, edit_index: Edit) -> None:
    """Under a megabyte, however long their texts are."""
    from zoo.pages.site_pages import list_page

    def change(index: Any) -> None:
        (entry,) = index["entries"]
        entry |= {"preset": "p" * 500, "scheme": "s" * 500, "licence": "l" * 500}
        entry["metrics"] = [{"faces": 1, "normaliser": "n" * 500, "nme": 1.0, "source": "s" * 500}]
        index["entries"] = [{**entry, "name": f"{'n' * 60}{i:04d}"} for i in range(1000)]

    edit_index(change)
    index = zoo.Registry(published).index()
    assert len(list_page(index, checkpoints(index)).encode()) < 2**20
