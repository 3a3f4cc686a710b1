"""Shards: joined, their reports are that of the whole to the byte; what is missing, double or other is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from verify.case.files import find_case_files, shipped_cases
from verify.cli import main
from verify.errors import UsageError
from verify.report.json_reading import read
from verify.running.shards import shard
from verify.tools.merging import merged

NOTES = str(shipped_cases() / "notes")
COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of a whole run, and of its shards, one of which failed to be a pass."""
    made = tmp_path_factory.mktemp("shards")
    wrong = made / "zz wrong.yaml"
    wrong.write_text(
        "case: wrong\ninputs: {x: {at: 1}}\nstages: {f: exp(x)}\nexpect: {value: {f: 2.5}}\nsource: none\n", "utf-8"
    )
    run = ["run", NOTES, str(wrong), "--points", "2"]
    assert 1 == main([*run, "--json", str(made / "whole.json"), "--csv", str(made / "whole")])
    codes = [main([*run, "--shard", f"{i}/{COUNT}", "--json", str(made / f"{i}.json")]) for i in range(1, COUNT + 1)]
    assert [0, 0, 1] == sorted(codes)
    return made


def comparable(path: Path) -> Any:
    """A JSON report but for times and the command."""
    said = json.loads(path.read_text(encoding="utf-8"))
    for name in ("started", "seconds", "command"):
        del said[name]
    for case in said["cases"]:
        del case["seconds"]
    return said


def test_the_union_of_shards_is_the_whole_to_the_byte(folder: Path, tmp_path: Path) -> None:
    """In whatever order they are given; tables and JSON."""
    paths = [str(folder / f"{i}.json") for i in (2, 3, 1)]
    assert 1 == main(["merge", *paths, "--csv", str(tmp_path), "--json", str(tmp_path / "m.json")])
    for name in ("results.csv", "points.csv", "summary.csv"):
        assert (folder / "whole" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert comparable(folder / "whole.json") == comparable(tmp_path / "m.json")


def test_a_report_that_is_joined_is_not_written_over(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before anything is written, by whatever name; its twin under another name is written."""
    mine = tmp_path / "mine.json"
    before = (folder / "1.json").read_bytes()
    mine.write_bytes(before)
    (tmp_path / "link.json").symlink_to(mine)
    assert 2 == main(["merge", str(mine), "--json", str(tmp_path / "link.json")])
    assert "mine.json is one of the reports that are joined, and would be written over" in capsys.readouterr().err
    assert before == mine.read_bytes()
    assert 2 != main(["merge", str(mine), "--json", str(tmp_path / "other.json")])
    assert (tmp_path / "other.json").exists()


def test_a_shard_that_is_missing_is_told_and_the_run_does_not_pass(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With how many cases that are."""
    passing = [i for i in range(1, COUNT + 1) if all(c.passes for c in read(folder / f"{i}.json")[1])]
    absent = next(i for i in range(1, COUNT + 1) if i not in passing)
    paths = [str(folder / f"{i}.json") for i in passing]
    assert 1 == main(["merge", *paths, "--json", str(tmp_path / "m.json")])
    told = capsys.readouterr()
    assert f"shard {absent}/{COUNT} is missing" in told.err
    run, _ = read(tmp_path / "m.json")
    assert f"{run.left_out} cases were not run" in told.out
    assert run.left_out > 0


def changed(path: Path, place: Path, **fields: Any) -> Path:
    """A report with other fields."""
    lines = path.read_text(encoding="utf-8").splitlines()
    last = {**json.loads("{" + lines[-1].removeprefix("],")), **fields}
    lines[-1] = "]," + json.dumps(last)[1:]
    place.write_text("\n".join(lines), encoding="utf-8")
    return place


def test_reports_that_are_of_different_runs_are_refused(folder: Path, tmp_path: Path) -> None:
    """Other versions, settings, seeds; a shard of another whole, one that is there twice, a shard and a whole."""
    one, two = folder / "1.json", folder / "2.json"
    run, _ = read(two)
    assert run.shard is not None
    other = tmp_path / "other.json"
    part = {"number": 2, "of": COUNT, "files": 9, "digest": "", "places": dict(run.shard.places)}
    for fields, said in (
        ({"versions": {**run.versions, "numpy": "1.0"}}, rf"of other versions: numpy \S+ in {one} and 1.0 in {other}"),
        ({"asked": {**run.asked, "proof_work": "7"}}, "of other settings: proof_work 2000000 in"),
        ({"seed": 3}, "of other settings: seed 0 in"),
        ({"shard": part}, "are shards of two wholes"),
    ):
        with pytest.raises(UsageError, match=said):
            merged([one, changed(two, other, **fields)])
    copy = tmp_path / "copy.json"
    copy.write_bytes(one.read_bytes())
    with pytest.raises(UsageError, match=r"is in .*1.json and in .*copy.json. Leave one of them out"):
        merged([one, copy])
    with pytest.raises(UsageError, match="a report is named twice"):
        merged([one, one])
    with pytest.raises(UsageError, match="is a shard, the other a whole run"):
        merged([one, folder / "whole.json"])


def test_reports_of_different_cases_are_joined(folder: Path, tmp_path: Path) -> None:
    """Of machines or days: no shards, and nothing in common."""
    add, relu = (str(Path(NOTES, f"{name}.yaml")) for name in ("add", "relu"))
    for name, path in (("a", add), ("r", relu)):
        assert 0 == main(["run", path, "--points", "2", "--json", str(tmp_path / f"{name}.json")])
    run, missing = merged([tmp_path / "r.json", tmp_path / "a.json"])
    assert ["ReLU", "add"] == [case.name for case in run.cases]
    assert run.ok
    assert not missing
    del folder


@pytest.mark.parametrize("asked", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/5", "", "٣/٣"])
def test_what_is_no_shard_is_told(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the way to write one."""
    assert 2 == main(["run", NOTES, "--shard", asked])
    assert "a shard is written as number/count, such as 2/5" in capsys.readouterr().err


def test_shards_are_parts_of_one_whole() -> None:
    """Each file is in one of them, and no shard has much more to do than another; the order of naming plays no role."""
    files = find_case_files([shipped_cases()])
    parts = [shard(files, f"{i}/5")[0] for i in range(1, 6)]
    assert sorted(files) == sorted(path for part in parts for path in part)
    loads = [sum(path.stat().st_size for path in part) for part in parts]
    assert max(loads) < 1.05 * min(loads)
    assert set(parts[1]) == set(shard(files[::-1], "2/5")[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"schema":1,"caveats":[],"cases":[\n{"name":3}\n],"seed":0,"points":1}\n',
        "\0\1",
        "]," * 9,
    ],
)
def test_what_is_no_report_is_told(text: str, tmp_path: Path) -> None:
    """Whatever a file holds, a message and no traceback."""
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"is no report that `verify run --json` wrote"):
        merged([path])


def test_a_report_of_another_schema_is_told(tmp_path: Path) -> None:
    """Older or newer."""
    path = tmp_path / "x.json"
    path.write_text('{"schema":9,"caveats":[],"cases":[\n],"seed":0,"points":1}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="has schema 9, this program reads 1"):
        merged([path])
