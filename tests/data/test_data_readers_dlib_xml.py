"""dlib's XML: boxes, numbered parts, dlib's 300W by path; hostile XML."""

import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz, mutants

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, dlib_xml, parse_source, read_faces
from pifa_data.readers.dlib_parts import put_together

HEAD = (
    "<?xml version='1.0' encoding='ISO-8859-1'?>\n"
    "<?xml-stylesheet type='text/xsl' href='image_metadata_stylesheet.xsl'?>\n"
    "<dataset>\n<name>faces</name>\n<comment>of ours</comment>\n<images>\n"
)
FOOT = "</images>\n</dataset>"
POINTS = {count: np.random.default_rng(count).integers(10, 200, (count, 2)) for count in (5, 12, 19, 68, 98)}


def parts_of(points: np.ndarray, names: list[str] | None = None) -> str:
    """As dlib writes them."""
    names = names or [f"{i:02}" for i in range(len(points))]
    rows = zip(names, points.tolist(), strict=True)
    return "".join(f"      <part name='{name}' x='{x}' y='{y}'/>\n" for name, (x, y) in rows)


def box_of(parts: str, more: str = "", place: str = "top='90' left='194' width='37' height='45'") -> str:
    return f"    <box {place}{more}>\n{parts}    </box>\n" if parts else f"    <box {place}{more}/>\n"


def image_of(boxes: str, file: str = "a.jpg", size: str = " width='500' height='375'") -> str:
    return f"  <image file='{file}'{size}>\n{boxes}  </image>\n"


FACE = box_of(parts_of(POINTS[68]))


def put(path: Path, body: str | bytes, head: str = HEAD, foot: str = FOOT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body if isinstance(body, bytes) else (head + body + foot).encode())
    return path


def read(path: Path, split: str | None = None, options: str = "") -> list[Face | Skipped]:
    return list(read_faces(f"dlib-xml:{path}{options}", FORMATS, split=split, fittable=False))


def one(path: Path, options: str = "") -> Face:
    (face,) = read(path, options=options)
    assert isinstance(face, Face), face
    return face


def test_a_box_and_its_parts(tmp_path: Path) -> None:
    face = one(put(tmp_path / "faces.xml", image_of(FACE)))
    assert (face.id, face.scheme, face.kind, face.subject) == ("a.jpg#1", "ibug68", "2d", "a")
    assert (face.split, face.subsets, face.image_size, face.pose) == ("", (), (500, 375), None)
    np.testing.assert_array_equal(face.landmarks, POINTS[68])  # counted from 0
    np.testing.assert_array_equal(face.visibility, 2)
    # dlib's rectangle: right = left + width - 1, bottom = top + height - 1.
    np.testing.assert_array_equal(face.box, [194, 90, 230, 134])
    assert face.image == tmp_path / "a.jpg"
    assert parse_source(str(tmp_path), FORMATS).format.name == "dlib-xml"
    assert parse_source(str(tmp_path / "faces.xml"), FORMATS).format.name == "dlib-xml"


def test_parts_stand_in_any_order_and_form(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(68)
    rows = [
        f'<part y="{y}.5" name = "{i}" x=\'{x}e0\' seen="no"></part><!-- {i} -->'
        for i, (x, y) in zip(order.tolist(), POINTS[68][order].tolist(), strict=True)
    ]
    face = one(put(tmp_path / "a.xml", image_of(box_of("<label>face</label>" + "".join(rows)))))
    np.testing.assert_array_equal(face.landmarks, POINTS[68] + [0, 0.5])
    shuffled = parts_of(POINTS[68][order], [str(i) for i in order])
    face = one(put(tmp_path / "a.xml", image_of(box_of(shuffled))))
    np.testing.assert_array_equal(face.landmarks, POINTS[68])


@pytest.mark.parametrize(("count", "scheme"), [(68, "ibug68"), (98, "wflw98"), (19, "aflw19")])
def test_the_number_of_parts_is_the_scheme(tmp_path: Path, count: int, scheme: str) -> None:
    assert one(put(tmp_path / "a.xml", image_of(box_of(parts_of(POINTS[count]))))).scheme == scheme


def test_parts_that_are_missing_are_not_labelled(tmp_path: Path) -> None:
    """Once a box with all its parts has told the scheme; or by scheme=, as in the files of eyes alone."""
    some = [i for i in range(68) if i not in (0, 20, 67)]
    few = box_of(parts_of(POINTS[68][some], [str(i) for i in some]))
    first = box_of(parts_of(POINTS[68][:51], [str(i) for i in range(51)]))  # 51 of 68, not ibug51
    unknown, whole, partial, start = read(put(tmp_path / "a.xml", image_of(few + FACE + few + first)))
    assert isinstance(unknown, Skipped)
    assert "found 65 parts, named 1 to 66: of no scheme that their number tells; name it by scheme=" in unknown.reason
    assert isinstance(whole, Face)
    assert isinstance(partial, Face)
    assert isinstance(start, Face)
    np.testing.assert_array_equal(np.flatnonzero(partial.visibility == 0), [0, 20, 67])
    np.testing.assert_array_equal(partial.landmarks[some], POINTS[68][some])
    np.testing.assert_array_equal(partial.landmarks[[0, 20, 67]], 0)
    assert start.scheme == "ibug68"
    eyes = box_of(parts_of(POINTS[12], [str(i) for i in range(36, 48)]))
    face = one(put(tmp_path / "a.xml", image_of(eyes)), ",scheme=ibug68")
    np.testing.assert_array_equal(face.landmarks[36:48], POINTS[12])
    assert (face.visibility == 2).sum() == 12


def test_dlibs_five_points_are_refused_with_the_reason(tmp_path: Path) -> None:
    (face,) = read(put(tmp_path / "a.xml", image_of(box_of(parts_of(POINTS[5])))))
    assert isinstance(face, Skipped)
    assert face.reason.startswith("a.xml line 8: found 5 parts, named 0 to 4: of no scheme")


def test_boxes_of_an_image(tmp_path: Path) -> None:
    """Ignored ones are no faces, ones without parts are skipped; both count."""
    boxes = box_of("") + FACE + box_of("", " ignore='1'") + box_of(parts_of(POINTS[68]), " ignore='0' gender='male'")
    bare, two, four, other = read(put(tmp_path / "a.xml", image_of(boxes) + image_of(FACE, "b.jpg", "")))
    assert isinstance(bare, Skipped)
    assert (bare.id, bare.reason) == ("a.jpg#1", "a.xml line 8: a box without parts")
    assert [face.id for face in (two, four, other)] == ["a.jpg#2", "a.jpg#4", "b.jpg#1"]
    assert isinstance(other, Face)
    assert other.image_size is None
    again, _ = read(put(tmp_path / "a.xml", image_of(FACE) * 2))[::-1]
    assert isinstance(again, Skipped)
    assert "a face of this name came before" in again.reason


@pytest.mark.parametrize(
    ("name", "file", "split", "subsets", "subject"),
    [
        # dlib has mixed 300W anew: the protocols' parts are told by the path.
        ("labels_ibug_300W_test", "helen/trainset/146827737_1.jpg", "test", ("helen", "300w-train"), "146827737"),
        ("labels_ibug_300W_test", "ibug/image_105_01.jpg", "test", ("challenging", "ibug", "full"), "image_105"),
        ("labels_ibug_300W_train", "lfpw/testset/image_0176.png", "train", ("common", "lfpw", "full"), None),
        ("labels_ibug_300W_train", "helen/trainset/146827737_1_mirror.jpg", "train", ("mirrored",), "146827737"),
        ("labels_ibug_300W", "afw/4285163979_4.jpg", "train", ("afw",), "4285163979"),
        ("labels_ibug_300W", "afw/4285163979_4_mirror.jpg", "", ("mirrored",), "4285163979"),
        ("testing", "a.jpg", "test", (), "a"),
        ("training_with_face_landmarks", "2007_007763.jpg", "train", (), "2007_007763"),
        ("mine", "a_mirror.jpg", "", ("mirrored",), "a"),
    ],
)
def test_parts_of_300w(
    tmp_path: Path, name: str, file: str, split: str, subsets: tuple[str, ...], subject: str | None
) -> None:
    face = one(put(tmp_path / f"{name}.xml", image_of(FACE, file)))
    assert (face.split, face.subsets) == (split, subsets)
    assert subject in (None, face.subject)
    known = FORMATS["dlib-xml"].splits
    assert set(filter(None, (face.split, *face.subsets))) <= set(known)


def test_a_folder_is_read_without_the_whole_of_its_parts(tmp_path: Path) -> None:
    put(tmp_path / "labels_ibug_300W.xml", image_of(FACE) + image_of(FACE, "b.jpg"))
    put(tmp_path / "labels_ibug_300W_train.xml", image_of(FACE))
    put(tmp_path / "labels_ibug_300W_test.xml", image_of(FACE, "b.jpg"))
    put(tmp_path / "other.xml", b"<annotation></annotation>")
    put(tmp_path / "zz_broken.xml", "<dataset><images>", foot="", head="")
    test, train, broken = read(tmp_path)
    assert [test.id, train.id, broken.id] == ["b.jpg#1", "a.jpg#1", "zz_broken.xml"]
    assert [face.id for face in read(tmp_path, "train") if isinstance(face, Face)] == ["a.jpg#1"]


def test_options(tmp_path: Path) -> None:
    path = put(tmp_path / "a.xml", image_of(FACE))
    (tmp_path / "in").mkdir()
    assert one(path, f",images={tmp_path / 'in'}").image == tmp_path / "in" / "a.jpg"
    assert one(path, ",kind=3d").kind == "3d"
    (wrong,) = read(path, options=",scheme=aflw19")
    assert isinstance(wrong, Skipped)
    assert "expected parts 0 to 18 (aflw19), found 67" in wrong.reason
    for option, reason in (("kind=x", "kind='x'"), ("scheme=x", "scheme='x'"), ("images=/no/where", "no such folder")):
        with pytest.raises(AnnotationError, match=reason):
            read(path, options=f",{option}")


def test_names_that_are_no_ascii(tmp_path: Path) -> None:
    """dlib writes a name's bytes unchanged, whatever the heading says of their encoding."""
    face = one(put(tmp_path / "a.xml", image_of(FACE, "Łódź.jpg")))
    assert face.image == tmp_path / "Łódź.jpg"
    latin = (HEAD + image_of(FACE, "señor.jpg") + FOOT).encode("latin-1")
    assert one(put(tmp_path / "b.xml", latin)).image == tmp_path / "señor.jpg"


def swap(old: str, new: str) -> str:
    assert old in FACE
    return FACE.replace(old, new, 1)


FIRST = parts_of(POINTS[68]).split("\n")[0] + "\n"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (swap("name='07'", "name='7a'"), "part: expected a number for a name, found '7a'"),
        (swap("name='07'", "name='-7'"), "expected a number for a name"),
        (swap("name='07'", "name='70000'"), "expected a number for a name"),
        (swap("name='07'", "name=''"), "expected a number for a name"),
        (swap("name='07'", "name='08'"), "part 8 stands there twice"),
        (swap("name='07'", "name='8'"), "part 8 stands there twice"),
        (swap("name='07'", "name='68'"), "expected parts 0 to 67 (ibug68, as before), found 68"),
        (swap("name='07' ", ""), "part: expected name=, x= and y=, found {'x'"),
        (swap("name='07'", "title='07'"), "part: expected name=, x= and y="),
        (swap(" x='", " x='1,"), "part: expected one number each for x and y, found 137 of 68 parts"),
        (swap(" x='", " x='a"), "part: not a number: 'a"),
        (swap(" x='", " x='9_9"), "part: not a number"),
        (re.sub(r"x='\d+'", "x='nan'", FACE, count=1), "not finite"),
        (re.sub(r"x='\d+'", "x='1e9'", FACE, count=1), "pixels out"),
        (re.sub(r"x='\d+'", "x='&#49;&#50;,1'", FACE, count=1), "found 137 of 68 parts"),
        (FACE.replace(FIRST, FIRST * 1001), "stands there twice"),
        (FACE.replace(FIRST, "<part name='0' x='1' y='2'/> " * 300_000), "expected at most 1000 parts, found more"),
        (swap("top='90' ", ""), "box: expected top=, found none"),
        (swap("width='37'", "width='x'"), "box: width: expected a number, found 'x'"),
        (swap("width='37'", "width='-37'"), "the face box has no area"),
        (swap("width='37'", "width='nan'"), "the face box has no area"),
        (swap("width='37'", "width='1e400'"), "the face box has no area, or lies far away"),
        (swap("<box", "<box ignore='x' "), None),
        ("<box/>", "a box without parts"),
    ],
)
def test_a_bad_box_is_skipped_and_the_others_are_read(tmp_path: Path, bad: str, reason: str | None) -> None:
    body = image_of(FACE) + image_of(bad, "b.jpg") + image_of(FACE, "c.jpg")
    before, *wrong, after = read(put(tmp_path / "a.xml", body))
    assert (before.id, after.id) == ("a.jpg#1", "c.jpg#1")
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    if reason is None:
        assert not wrong
    else:
        (found,) = wrong
        assert isinstance(found, Skipped)
        assert found.id == "b.jpg#1"
        assert reason in found.reason


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("<image>" + FACE + "</image>", "line 7: image: expected file=, found none"),
        ("<image file=''>" + FACE + "</image>", "image: expected file="),
        (image_of(FACE, "/etc/passwd"), "leads out"),
        (image_of(FACE, "a/../../b.jpg"), "leads out"),
        (image_of(FACE, "C:\\a.jpg"), "leads out"),
        (image_of(FACE, "..\\a.jpg"), "leads out"),
        (image_of(FACE, "a" * 3000), "longer than 1024"),
        (image_of(FACE, size=" width='-5' height='3'"), "image: expected a width and height above 0, found -5 and 3"),
        (image_of(FACE, size=" width='5'"), "image: expected height=, found none"),
        (image_of(FACE, size=" width='5' height='inf'"), "image: expected a width and height above 0"),
        (image_of(FACE, size=" width='5' height='nan'"), "image: expected a width and height above 0"),
        (image_of(FACE, size=" width='5' height='a'"), "image: height: expected a number"),
    ],
)
def test_a_bad_image_skips_its_boxes(tmp_path: Path, image: str, reason: str) -> None:
    wrong, after = read(put(tmp_path / "a.xml", image + image_of(FACE, "c.jpg")))
    assert isinstance(wrong, Skipped)
    assert reason in wrong.reason
    assert isinstance(after, Face)


BOMB = "<!DOCTYPE dataset [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HEAD.replace("<dataset>", BOMB + "<dataset>") + image_of(FACE, "&b;.jpg"), "line 3: expected XML without"),
        ("<!DOCTYPE dataset SYSTEM 'http://localhost:1/x.dtd'><dataset></dataset>", "without a document type"),
        ("<!DOCTYPE dataset SYSTEM 'file:///etc/passwd'><dataset>", "without a document type"),
        (HEAD + image_of(FACE, "&xxe;.jpg") + FOOT, "not well-formed XML (undefined entity)"),
        ("<!-- <dataset> --><annotation/>", "expected dlib's <dataset>, found <annotation>"),
        (HEAD + "<image", "not well-formed XML (unclosed token)"),
        (HEAD.replace("ISO-8859-1", "utf-7") + FOOT, "line 1: multi-byte encodings are not supported"),
        (HEAD.replace("ISO-8859-1", "klingon") + FOOT, "line 1: unknown encoding: klingon"),
        (HEAD.encode() + b"\0" + FOOT.encode(), "not well-formed XML"),
        ("<dataset>" + "<a>" * 100_000, "expected at most 64 elements within each other"),
        ("<dataset a='" + "x" * 3_000_000, "expected tags of at most 1048576 bytes"),
        ("<dataset><!--" + "x" * 3_000_000, "expected tags of at most 1048576 bytes"),
        (b"", "expected dlib's XML, which begins with <dataset>"),
        ("<annotation></annotation>", "expected dlib's XML, which begins with <dataset>"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, body: str | bytes, reason: str) -> None:
    path = put(tmp_path / "a.xml", body.encode() if isinstance(body, str) else body)
    with pytest.raises(AnnotationError, match=re.escape(reason)):
        read(path)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("<image file='b.jpg'><box top='1'", "not well-formed XML"),
        ("</image>", "not well-formed XML (mismatched tag)"),
        (image_of(FACE, "&b;.jpg"), "undefined entity"),
        ("<part>" * 100_000, "elements within each other"),
        ("<a>" * 100_000, "elements within each other"),
        ("<image file='" + "x" * 3_000_000, "expected tags of at most"),
        ("</images></dataset><dataset>", "junk after document element"),
    ],
)
def test_a_file_damaged_in_the_middle_gives_what_came_before(tmp_path: Path, tail: str, reason: str) -> None:
    first, second, end = read(put(tmp_path / "a.xml", image_of(FACE) + image_of(FACE, "c.jpg") + tail, foot=""))
    assert isinstance(first, Face)
    assert isinstance(second, Face)
    assert isinstance(end, Skipped)
    assert end.id == "a.xml"
    assert re.match(r"a\.xml line \d+: ", end.reason)
    assert reason in end.reason
    assert end.reason.endswith("nothing behind it is read")


def test_parts_put_together_stay_where_they_were(tmp_path: Path) -> None:
    """In a comment or a text they are none; and what the reader writes means the same where it stands in a file."""
    x, y = (",".join(map(str, column)) for column in POINTS[68].T.tolist())
    one_part = box_of(f"<part name='{','.join(map(str, range(68)))}' x='{x}' y='{y}'/>")
    commented = f"<!-- {image_of(FACE, 'hidden.jpg')} --><![CDATA[{image_of(FACE, 'text.jpg')}]]>"
    found = read(put(tmp_path / "a.xml", image_of(one_part) + commented + image_of(FACE, "b.jpg")))
    assert [face.id for face in found] == ["a.jpg#1", "b.jpg#1"]
    for face in found:
        assert isinstance(face, Face)
        np.testing.assert_array_equal(face.landmarks, POINTS[68])


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_file_reads_the_same_if_no_parts_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    """Except for the words of what is wrong."""
    good = HEAD + image_of(FACE + box_of(parts_of(POINTS[68] + 1))) + image_of(swap("name='07'", "name='08'")) + FOOT
    path = tmp_path / "a.xml"
    for data in mutants(good.replace("'", quote).encode(), 100):
        path.write_bytes(data)
        both = []
        for change in (put_together, lambda text: text):
            monkeypatch.setattr(dlib_xml, "put_together", change)
            try:
                found = [(f.id, f.landmarks.tolist() if isinstance(f, Face) else None) for f in read(path)]
            except AnnotationError:
                found = []
            both.append(found)
        assert both[0] == both[1]


def test_lines_are_counted_with_the_parts_that_were_taken_out(tmp_path: Path) -> None:
    path = put(tmp_path / "a.xml", image_of(FACE) + image_of(box_of(""), "b.jpg"))
    line = 1 + path.read_text()[: path.read_text().index("/>\n  </image>\n</images>")].count("\n")
    (bare,) = [face for face in read(path) if isinstance(face, Skipped)]
    assert bare.reason == f"a.xml line {line}: a box without parts"


def test_parts_of_two_forms_in_one_box(tmp_path: Path) -> None:
    mixed = swap("<part name='00'", "<part  name='00'")
    np.testing.assert_array_equal(one(put(tmp_path / "a.xml", image_of(mixed))).landmarks, POINTS[68])
    # A part outside of a box is nobody's.
    stray = image_of(FACE + "<part name='9' x='1' y='2'/>")
    np.testing.assert_array_equal(one(put(tmp_path / "a.xml", stray)).landmarks, POINTS[68])


@pytest.mark.parametrize("chunk", [1, 7, 100, 3000, 1 << 16])
def test_faces_do_not_depend_on_where_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(dlib_xml, "CHUNK", chunk)
    boxes = FACE + swap("name='07'", 'name="07"') + box_of("<label>x</label>" + parts_of(POINTS[68] + 1)) + box_of("")
    found = read(put(tmp_path / "a.xml", image_of(boxes) + image_of(FACE, "b.jpg")))
    assert [face.id for face in found] == ["a.jpg#1", "a.jpg#2", "a.jpg#3", "a.jpg#4", "b.jpg#1"]
    for i, face in enumerate(found):
        if i != 3:
            assert isinstance(face, Face)
            np.testing.assert_array_equal(face.landmarks, POINTS[68] + (i == 2))


def test_parts_as_dlib_writes_them_are_put_together() -> None:
    text = image_of(FACE).encode()
    left = put_together(text)
    assert left.count(b"<part ") == 1
    assert left.count(b"\n") == text.count(b"\n")
    for other in (FACE.replace("'", '"'), swap(" x=", "  x="), swap("/>", "></part>")):
        assert put_together(other.encode()) == other.encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xml")
    (tmp_path / "b.xml").mkdir()
    put(tmp_path / "c.xml", image_of(FACE))
    assert [type(face) for face in read(tmp_path)] == [Face]
    assert not dlib_xml.FORMAT.matches(tmp_path / "a.xml")
    assert not dlib_xml.FORMAT.matches(Path("a\0b"))


def test_a_box_of_long_parts_fills_no_memory(tmp_path: Path) -> None:
    long = f"<part name='0' x='{'1' * 900_000}' y='2'/>" * 20
    path = put(tmp_path / "a.xml", image_of(box_of(long)) + image_of(FACE, "b.jpg"))
    tracemalloc.start()
    try:
        wrong, after = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(wrong, Skipped)
    assert "expected at most 1000 parts, found more, or longer ones" in wrong.reason
    assert isinstance(after, Face)
    assert peak < 12e6


def test_memory_is_that_of_a_box(tmp_path: Path) -> None:
    body = "".join(image_of(FACE, f"{i}.jpg") for i in range(3000))
    size = put(tmp_path / "a.xml", body).stat().st_size
    for _ in dlib_xml.read(tmp_path / "a.xml"):
        break
    tracemalloc.start()
    try:
        assert sum(isinstance(face, Face) for face in dlib_xml.read(tmp_path / "a.xml")) == 3000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6 < size


@pytest.mark.parametrize("canonical", [True, False])
def test_mutated_files_give_faces_or_our_errors(tmp_path: Path, canonical: bool) -> None:
    parts = parts_of(POINTS[19])
    boxes = box_of(parts if canonical else parts.replace("'", '"'), " angle='0.1'") + box_of("", " ignore='1'")
    path = put(tmp_path / "faces_train.xml", image_of(boxes, "in/a.jpg") + image_of(box_of(parts), "b.jpg"))
    fuzz(path, f"dlib-xml:{path}", tmp_path)


def test_dlibs_own_files(shared_data: Path) -> None:
    folder = shared_data / "samples" / "dlib_xml"
    assert parse_source(str(folder), FORMATS).format.name == "dlib-xml"
    found = read(folder / "training_with_face_landmarks.xml")
    faces = [face for face in found if isinstance(face, Face)]
    assert len(faces) == len(found) == 18
    first = faces[0]
    assert (first.id, first.split, first.image_size) == ("2007_007763.jpg#1", "train", (500, 375))
    np.testing.assert_array_equal(first.landmarks[[0, 16, 67]], [[201, 107], [231, 105], first.landmarks[67]])
    np.testing.assert_array_equal(first.box, [194, 90, 230, 126])
    assert {face.image.name for face in faces if face.image.is_file()} == {
        *("2007_007763.jpg", "2008_001009.jpg", "2008_001322.jpg"),
    }
    for face in faces:
        assert face.box is not None
        inside = (face.landmarks > face.box[:2] - 20) & (face.landmarks < face.box[2:] + 40)
        assert inside.mean() > 0.9
    bare = read(folder / "training.xml")
    assert len(bare) == 18
    assert all(isinstance(face, Skipped) and face.reason.endswith("a box without parts") for face in bare)
