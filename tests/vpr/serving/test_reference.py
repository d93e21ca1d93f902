"""The reference page of the service names what there is."""

import re
from dataclasses import fields
from pathlib import Path

from serving import client_of, post

from vpr.maps.options import LocateConfig
from vpr.serve import ServeOptions
from vpr.serving.limits import Limits

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "serving.md").read_text(encoding="utf-8")
OF_DRIVES = {"sequence"}  # options of LocateConfig that the service has no use for


def rows():
    """The names in the first column of the table of options, and the default as it is written."""
    table = PAGE.partition("| option | default | meaning |\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        names, default = (cell.strip() for cell in line.split("|")[1:3])
        yield [name.replace("-", "_") for name in re.findall(r"`--([a-z-]+)`", names)], default


def test_the_table_has_every_option():
    listed = [name for names, _ in rows() for name in names]
    wanted = {field.name for stage in (ServeOptions, Limits, LocateConfig) for field in fields(stage)}
    assert sorted(listed) == sorted(wanted - OF_DRIVES - {"map"})


def test_the_table_has_the_defaults_of_the_limits():
    told = {names[0]: default.replace(",", "") for names, default in rows()}
    assert {field.name: float(told[field.name]) for field in fields(Limits)} == {
        field.name: field.default for field in fields(Limits)
    }


def test_the_page_names_the_metrics_and_outcomes(photo_map):
    with client_of(photo_map) as client:
        post(client, b"")
        text = client.get("/metrics").text
    for name in set(re.findall(r"^(vpr_\w+?)(?:_bucket|_count|_sum)?[ {]", text, re.MULTILINE)):
        assert f"`{name}`" in PAGE or name.endswith("_created"), name
    for name in set(re.findall(r'outcome="(\w+)"', text)):
        assert f"`{name}`" in PAGE, name
