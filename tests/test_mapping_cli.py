"""``ihomer config infer`` and ``check --try`` on files in foreign shapes, and what runs on them."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ihomer.connectors import memory
from ihomer.connectors.base import Record
from ihomer.connectors.uri import open_source
from ihomer.errors import EXIT_INPUT, EXIT_OK, EXIT_USAGE
from ihomer.instances import Event
from ihomer.stream.cli import app
from ihomer.stream.mapping.infer import FieldGuess, infer, kind_of
from ihomer.stream.mapping.sketch import folded, sketch
from ihomer.stream.mapping.trial import members, try_records
from ihomer.stream.settings import load_settings
from tests.commands import figures
from tests.data import data_dir
from tests.yeast import yeast_bodies

pytestmark = pytest.mark.usefixtures("alone")


def _run(*arguments: str, code: int = EXIT_OK) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result


def _tickets(count: int = 120) -> list[dict[str, Any]]:
    """Nested, with text, as somebody else's ticket system sends them."""
    subjects = ("printer is out of paper again", "cannot log in since the update this morning")
    return [
        {
            "ticket": {
                "id": f"T-{i}",
                "subject": f"{subjects[i % 2]} number {i}",
                "opened": f"2024-05-{1 + i % 28:02}T08:{i % 60:02}:00+02:00",
                "seen_by": ["ann", "bob"][: i % 3],
                "trace": f"{i:032x}",
            },
            "site": {"name": ["north", "south"][i % 2], "load": i / 7, "open": i % 5 > 0},
            "parts": [{"n": 1}],
            "labels": [{"name": "hardware" if i % 2 == 0 else "access"}],
        }
        for i in range(count)
    ]


def _write(path: str, bodies: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")


def test_a_configuration_from_nested_json_with_text_runs() -> None:
    _write("tickets.jsonl", _tickets())
    told = _run("config", "infer", "tickets.jsonl").stdout
    assert told.startswith("wrote ihomer.toml\nOf the 120 events 120 are read by it, 0 refused;")
    assert "id: $.ticket.id (never the same in 120, such as 'T-0')" in told
    text = Path("ihomer.toml").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 100
    wanted = {
        "id": "$.ticket.id",
        "labels": "$.labels[*].name",
        "time": "$.ticket.opened",
        "default": "ignore",
        "fields": {
            "ticket.opened": "time",
            "ticket.subject": "text",
            "ticket.seen_by": "set",
            "site.name": "nominal",
            "site.load": "numeric",
            "site.open": "numeric",
        },
    }
    assert tomllib.loads(text) == {"source": ["tickets.jsonl"], "mapping": wanted}
    # What falls to the default is left out, and what is there says what it was seen from.
    assert "2 different values in 120, such as 'north', 'south'" in text
    assert _run("config", "check").stdout == "ok: ihomer.toml\n"
    measures = figures("tickets.jsonl", "--quiet")["measures"]
    assert measures["events"] == 120
    assert measures["micro_f1"] > 0.85
    _run("run", "--sink", "out.jsonl", "--quiet")
    predictions = [json.loads(line) for line in Path("out.jsonl").read_bytes().splitlines()]
    assert [each["id"] for each in predictions] == [f"T-{i}" for i in range(120)]
    assert predictions[3]["ts"] == "2024-05-04T08:03:00+02:00"


def test_what_was_inferred_is_not_put_over_what_is_there() -> None:
    _write("t.jsonl", _tickets(20))
    Path("ihomer.toml").write_text("seed = 3\n", encoding="utf-8")
    said = _run("config", "infer", "t.jsonl", code=EXIT_USAGE).stderr
    assert "ihomer.toml: found an existing file, accepted: a new path, or --force" in said
    _run("config", "infer", "t.jsonl", "--force")
    assert "seed" not in Path("ihomer.toml").read_text(encoding="utf-8")
    shown = _run("config", "infer", "t.jsonl", "--output", "-", "--n", "5").stdout
    assert shown.startswith("# Configuration of ihomer, made by ihomer config infer from 5 events")
    assert tomllib.loads(shown)["mapping"]["id"] == "$.ticket.id"
    Path("none.jsonl").write_text("\n", encoding="utf-8")
    said = _run("config", "infer", "none.jsonl", "--output", "-", code=EXIT_INPUT).stderr
    assert "none.jsonl: found no events" in said


def test_check_shows_what_events_become() -> None:
    bodies = _tickets(10)
    bodies[4]["ticket"]["id"] = None
    bodies[7]["site"]["load"] = "heavy"
    _write("t.jsonl", bodies)
    Path("ihomer.toml").write_text(
        'source = "t.jsonl"\n[mapping]\nid = "$.ticket.id"\nlabels = "$.labels[*].name"\n'
        'time = "$.ticket.opened"\ndefault = "ignore"\n[mapping.fields]\nsite = "numeric"\n'
        '"site.name" = "nominal"\n',
        encoding="utf-8",
    )
    told = _run("config", "check", "--try", "100").stdout.splitlines()
    assert told[:3] == [
        "ok: ihomer.toml",
        "3 of the first 10 events of t.jsonl:",
        "id 'T-0', ts 2024-05-01T08:00:00+02:00",
    ]
    assert told[3:8] == [
        "  labels  'hardware'",
        "  3 features",
        "    site.name = 'north'",
        "    site.load = 0",
        "    site.open = False",
    ]
    assert told[-3:] == [
        "8 events, 2 different labels, 2 refused",
        (
            "refused 1, id-absent: t.jsonl, line 5: $.ticket.id: found null, accepted: the event's"
            " id (mapping_id)"
        ),
        (
            "refused 1, field-value: t.jsonl, line 8: site.load: found 'heavy', accepted: a number,"
            " a boolean, numeric text, null or a list of those (kind numeric)"
        ),
    ]
    shown = json.loads(_run("config", "check", "--try", "3", "--json").stdout)
    assert (shown["tried"], shown["accepted"], shown["refused"]) == (3, 3, [])
    assert shown["events"][1] == {
        "id": "T-1",
        "ts": "2024-05-02T08:01:00+02:00",
        "on": ["access"],
        "off": [],
        "features": {"site.name": "south", "site.load": 1 / 7, "site.open": True},
    }


def test_check_refuses_what_it_cannot_try() -> None:
    said = _run("config", "check", "t.jsonl", code=EXIT_USAGE).stderr
    assert "SOURCE: found without --try, accepted: with --try N" in said
    assert "source: found none" in _run("config", "check", "--try", "3", code=EXIT_USAGE).stderr
    _write("t.jsonl", [{"tags": ["a"]}] * 3)
    said = _run("config", "check", "--try", "3", "t.jsonl", code=EXIT_INPUT).stderr
    assert (
        "t.jsonl, line 1: all of the 3 events are refused, the first as x-missing: x: not" in said
    )


def test_a_table_without_a_mapping_says_what_to_do() -> None:
    memory.create("table", [Record({"a": "1"}, "t.csv", 0, 1)])
    try:
        said = _run("config", "check", "--try", "3", "memory:table", code=EXIT_USAGE).stderr
    finally:
        memory.remove("table")
    assert "t.csv: found a table's row and no [mapping] in the configuration" in said
    assert "ihomer config infer SOURCE" in said


def _rows_of(text: str) -> list[Record]:
    return [
        Record(row, "table.csv", 0, number)
        for number, row in enumerate(csv.DictReader(io.StringIO(text)), 1)
    ]


def test_a_csv_of_yeast_as_others_write_it() -> None:
    bodies = list(yeast_bodies(300))
    labels = sorted({label for body in bodies for label in body["y"]})
    features = list(bodies[0]["x"])
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["gene_id", *features, *(f"is_{label}" for label in labels)])
    for i, body in enumerate(bodies):
        on = ["yes" if label in body["y"] else "no" for label in labels]
        writer.writerow([f"g{i}", *(body["x"].get(name, "") for name in features), *on])
    records = _rows_of(out.getvalue())
    guess = infer(records[:200])
    assert (guess.id, guess.labels_as, guess.default) == ("$.gene_id", "columns", "numeric")
    assert guess.labels == [f"$.is_{label}" for label in labels]
    Path("csv.toml").write_text(sketch(guess, "table.csv"), encoding="utf-8")
    trial = try_records(load_settings(Path("csv.toml"), {}).settings, records, topic=False)
    assert (len(trial.events), trial.n_refused) == (300, 0)
    for i, (event, body) in enumerate(zip(trial.events, bodies, strict=True)):
        assert event.id == f"g{i}"
        assert set(event.on or ()) == {f"is_{label}" for label in body["y"]}
        assert members(event.x) == pytest.approx(body["x"])


def test_real_text_in_a_foreign_shape() -> None:
    source = open_source(str(data_dir() / "20ng.arff.gz"))
    records = list(source.next_batch(400, 1.0) or ())
    source.close()
    bodies = []
    for i, record in enumerate(records):
        event = record.value
        assert isinstance(event, Event)
        words = [name for name, value in members(event.x).items() if value]
        post = {"body": " ".join(words), "sent": 1_700_000_000 + 60 * i}
        bodies.append({"message-id": f"<{i}@news>", "post": post, "groups": list(event.on or ())})
    _write("news.jsonl", bodies)
    _run("config", "infer", "news.jsonl")
    mapping = tomllib.loads(Path("ihomer.toml").read_text(encoding="utf-8"))["mapping"]
    assert mapping == {
        "id": "$.message-id",
        "labels": "$.groups",
        "time": "$.post.sent",
        "default": "ignore",
        "fields": {"post.sent": "time", "post.body": "text"},
    }
    found = json.loads(_run("config", "check", "--try", "400", "--json").stdout)
    assert (found["accepted"], found["refused"]) == (400, [])
    assert figures("news.jsonl", "--quiet")["measures"]["events"] == 400


@pytest.mark.parametrize(
    ("values", "kind", "seen"),
    [
        ([None, ""], "ignore", "null or empty"),
        ([1, 2.5, None], "numeric", "numbers from 1 to 2.5, missing in 1"),
        ([1, 2, 3], "numeric", "nominal if they are codes"),
        (["1", "NA", "2.5"], "numeric", "numbers from 1 to 2.5, as text"),
        (["true", "false"], "numeric", "true or false, as text"),
        (["2024-01-01", "2024-01-02 10:00"], "time", "times such as '2024-01-01'"),
        ([["a"], ["b", "a"]], "set", "2 different"),
        ([[1.5, 2], [0, None]], "numeric", "lists of 2 numbers each: numbers from 0 to 2"),
        ([[1.5], [0.5, 2], []], "numeric", "lists of 1 to 2 numbers, such as [1.5]; ignore it if"),
        ([[3, 7], [7], [7, 8, 9]], "set", "lists of 1 to 3 numbers, such as [3, 7]; numeric if"),
        ([[0.5] * 9000] * 2, "ignore", "lists of 9,000 numbers; 8,192 are features at most"),
        ([[1.5, "a"]], "ignore", "neither texts nor numbers alone"),
        ([[[1.5]]], "ignore", "neither texts nor numbers alone"),
        ([{}, 3], "ignore", "several types"),
        (["a", 3] * 5, "nominal", "several types (int, str)"),
        (["rock|jazz", "jazz", "rock|pop", "pop"] * 9, "set", "text with '|'"),
        ([f"{i:08x}" for i in range(40)], "ignore", "never the same in 40"),
        ([f"a longer text with number {i}" for i in range(40)], "text", "6 words"),
        (["red", "blue"] * 20, "nominal", "2 different values in 40, such as 'red', 'blue'"),
    ],
)
def test_kinds_are_told_from_values(values: list[Any], kind: str, seen: str) -> None:
    found = kind_of(values)
    assert found.kind == kind
    assert seen in found.seen


_ANY = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**60), 2**60),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.sampled_from(["2024-05-01", "a|b", "1.5", "yes"]),
        st.datetimes(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_MEMBERS = st.one_of(st.text(), st.sampled_from(["id", "tags", "labels", "ts", "$a", "x.y", "y"]))


@given(
    rows=st.lists(st.dictionaries(_MEMBERS, _ANY, max_size=5), min_size=1, max_size=14),
    again=st.sampled_from([1, 12]),
)
def test_whatever_was_seen_what_is_written_is_a_configuration(
    rows: list[dict[str, Any]], again: int
) -> None:
    records = [Record(row, "any\nname", 0, n, b"k") for n, row in enumerate(rows * again)]
    guess = infer(records)
    if guess.shape != "mapped":
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ihomer.toml"
        text = sketch(guess, "any\nname", ["Verdict:\nthat"])
        path.write_text(text, encoding="utf-8", errors="strict")
        settings = load_settings(path, {}).settings
    assert settings.mapping_id == (guess.id or None)
    assert settings.mapping_labels == guess.labels
    trial = try_records(settings, records, topic=False)
    assert len(trial.found) + trial.n_refused == len(records)


def test_an_embedding_is_inferred_and_learned() -> None:
    bodies: list[dict[str, Any]] = [
        {
            "id": f"d{i}",
            "doc": {"vec": [((i % 2) - 0.5) * (place % 3) + i / 977 for place in range(48)]},
            "tags": ["odd" if i % 2 else "even"],
        }
        for i in range(200)
    ]
    _write("vectors.jsonl", bodies)
    told = _run("config", "infer", "vectors.jsonl").stdout
    assert "Of the 200 events 200 are read by it, 0 refused" in told
    text = Path("ihomer.toml").read_text(encoding="utf-8")
    assert "# lists of 48 numbers each: numbers from -1 to" in text
    mapping = tomllib.loads(text)["mapping"]
    assert (mapping["labels"], mapping["fields"]) == ("$.tags", {"doc.vec": "numeric"})
    (event,) = json.loads(_run("config", "check", "--try", "1", "--json").stdout)["events"]
    assert event["features"] == {
        f"doc.vec.{place}": number for place, number in enumerate(bodies[0]["doc"]["vec"])
    }
    assert figures("vectors.jsonl", "--quiet")["measures"]["micro_f1"] > 0.9


@pytest.mark.parametrize("columns", [False, True])
def test_a_cell_tells_no_label_from_one_that_nobody_knows(columns: bool) -> None:
    """Written as CSV, inferred and read: unlabelled stays unlabelled, none on stays none on."""
    events = [
        {"id": f"e{i}", "x": {"a": i % 3}, "y": [["p"], ["p", "q"], [], None][i % 4]}
        for i in range(40)
    ]
    _write("own.jsonl", events)
    _run("data", "write", "own.jsonl", "e.csv", "--quiet")
    text = Path("e.csv").read_text(encoding="utf-8")
    assert text.splitlines()[3:5] == ["e2,2.0,", "e3,0.0,?"]
    if columns:
        cells = {"p": "yes,no", "p|q": "yes,yes", "": "no,no", "?": "?,?"}
        head, *rows = text.splitlines()
        text = "\n".join([head.replace("labels", "is_p,is_q"), *(
            f"{row.rpartition(',')[0]},{cells[row.rpartition(',')[2]]}" for row in rows
        )])  # fmt: skip
        Path("e.csv").write_text(text + "\n", encoding="utf-8")
    _run("config", "infer", "e.csv")
    mapping = tomllib.loads(Path("ihomer.toml").read_text(encoding="utf-8"))["mapping"]
    assert mapping["labels_unknown"] == "?"
    found = json.loads(_run("config", "check", "--try", "40", "--json").stdout)
    assert (found["accepted"], found["unlabelled"]) == (40, 10)
    for event, each in zip(events, found["events"], strict=True):
        wanted = event["y"]
        assert each["on"] == ([f"is_{y}" for y in wanted] if columns and wanted else wanted)


def test_fields_of_many_names_are_named_together() -> None:
    fields = {f"words.w{i}": FieldGuess("numeric", "n") for i in range(30)}
    fields["words2.a"] = FieldGuess("numeric", "n")
    assert {name: each.kind for name, each in folded(fields, "auto").items()} == {
        "words": "numeric",
        "words2.a": "numeric",
    }
    records = [
        Record(json.dumps({"bag": {f"w{n}": 1 for n in range(i, i + 9)}}).encode(), "t", 0, i)
        for i in range(40)
    ]
    guess = infer(records)
    assert guess.default == "auto"
    assert "more will come" in guess.reasons["default"]


def test_our_own_shape_needs_no_mapping() -> None:
    _write("own.jsonl", [{"id": i, "x": {"a": i}, "y": ["b"]} for i in range(20)])
    _run("config", "infer", "own.jsonl")
    text = Path("ihomer.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {"source": ["own.jsonl"]}
    assert "ihomer's own shape" in text
    shown = _run("config", "infer", "river:yeast", "--output", "-").stdout
    assert tomllib.loads(shown) == {"source": ["river:yeast"]}
    assert "no mapping" in shown


def test_a_mapping_in_the_environment_and_what_is_wrong_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IHOMER_MAPPING_LABELS", "$.a,$.b")
    monkeypatch.setenv("IHOMER_MAPPING_FIELDS", "c.d=text,$key=nominal")
    settings = load_settings(None, {}).settings
    assert settings.mapping_labels == ["$.a", "$.b"]
    assert settings.mapping_fields == {"c.d": "text", "$key": "nominal"}
    assert settings.mapped
    monkeypatch.setenv("IHOMER_MAPPING_FIELDS", '{"e": "set"}')
    assert load_settings(None, {}).settings.mapping_fields == {"e": "set"}
    monkeypatch.setenv("IHOMER_MAPPING_FIELDS", "{e}")
    assert "mapping_fields (environment" in _run("config", "check", code=EXIT_USAGE).stderr
    monkeypatch.delenv("IHOMER_MAPPING_FIELDS")
    monkeypatch.delenv("IHOMER_MAPPING_LABELS")
    Path("ihomer.toml").write_text(
        '[mapping]\nid = "ticket.id"\nlabels = ["$.a", "$.a"]\nfeatures = "$key"\n'
        '[mapping.fields]\n"a.b" = "word"\n[mapping.separators]\nc = ""\n',
        encoding="utf-8",
    )
    lines = _run("config", "check", code=EXIT_USAGE).stderr.splitlines()
    assert [line.removeprefix("ihomer: error: ").partition(": ")[0] for line in lines] == [
        "mapping_id (ihomer.toml, line 2)",
        "mapping_labels (ihomer.toml, line 3)",
        "mapping_features (ihomer.toml, line 4)",
        "mapping_fields (ihomer.toml, line 6)",
        "mapping_separators (ihomer.toml, line 7)",
    ]
    assert 'found "word" for "a.b", accepted: a table of name to "text"' in lines[3]
    Path("ihomer.toml").write_text(
        '[mapping]\nlabels = "$.tags"\n[mapping.fields]\ntags = "nominal"\n', encoding="utf-8"
    )
    said = _run("config", "check", code=EXIT_USAGE).stderr
    assert "mapping_fields (ihomer.toml, line 3): found tags, which mapping_labels names" in said
    Path("ihomer.toml").write_text('[mapping]\nlabel = "$.tags"\nid = "$.id"\n', encoding="utf-8")
    said = _run("config", "check", code=EXIT_USAGE).stderr
    assert "mapping.label (ihomer.toml, line 2): found an unknown key, did you mean" in said


def test_show_and_the_reference_hold_it() -> None:
    Path("ihomer.toml").write_text(
        '[mapping]\nlabels = "$.tags"\n[mapping.fields]\n"a.b" = "text"\nc.d = "set"\n',
        encoding="utf-8",
    )
    shown = _run("config", "show").stdout
    values = tomllib.loads(shown)
    assert values["mapping_fields"] == {"a.b": "text", "c.d": "set"}
    assert 'mapping_labels = ["$.tags"]  # file ihomer.toml\n' in shown
    Path("shown.toml").write_text(shown, encoding="utf-8")
    assert load_settings(Path("shown.toml"), {}).settings == load_settings(None, {}).settings


def test_a_run_that_was_cut_goes_on_as_one_and_not_with_another_mapping() -> None:
    bodies = _tickets(200)
    _write("all.jsonl", bodies)
    _write("t.jsonl", bodies[:90])
    mapping = (
        "checkpoint_events = 40\n[mapping]\nid = '$.ticket.id'\nlabels = '$.labels[*].name'\n"
        "default = 'ignore'\n[mapping.fields]\n'ticket.subject' = 'text'\nsite = 'numeric'\n"
        "'site.name' = 'nominal'\n"
    )
    Path("m.toml").write_text(mapping, encoding="utf-8")
    common = ("run", "--config", "m.toml", "--quiet")
    _run(*common, "--source", "all.jsonl", "--sink", "whole.jsonl", "--state-dir", "s1")
    cut = (*common, "--source", "t.jsonl", "--sink", "cut.jsonl", "--state-dir", "s2")
    _run(*cut)
    Path("m.toml").write_text(mapping.replace("'text'", "'nominal'"), encoding="utf-8")
    said = _run(*cut, code=EXIT_INPUT).stderr
    assert "the configuration has changed: mapping_fields (found" in said
    Path("m.toml").write_text(mapping, encoding="utf-8")
    _write("t.jsonl", bodies)
    _run(*cut)
    assert Path("cut.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_labels_that_come_late_in_a_shape_of_theirs() -> None:
    tickets = _tickets(100)
    stream: list[dict[str, Any]] = []
    for i, ticket in enumerate(tickets):
        stream.append({key: value for key, value in ticket.items() if key != "labels"})
        if i >= 10:
            late = tickets[i - 10]
            stream.append({"ticket": {"id": late["ticket"]["id"]}, "labels": late["labels"]})
    _write("late.jsonl", stream)
    Path("ihomer.toml").write_text(
        'late_labels = true\n[mapping]\nid = "$.ticket.id"\nlabels = "$.labels[*].name"\n'
        'default = "ignore"\n[mapping.fields]\n"ticket.subject" = "text"\n'
        '"site.name" = "nominal"\n',
        encoding="utf-8",
    )
    found = figures("late.jsonl", "--quiet")
    assert found["late_labels"]["joined"] == 90
    assert found["measures"]["micro_f1"] > 0.8
