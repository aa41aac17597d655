"""What comes with a release: a citation, forms for issues, and versions that agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

import harness

FORMS = ["bug", "feature", "wrong_score"]
# https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-githubs-form-schema
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_citation_is_of_this_version(root: Path) -> None:
    """cffconvert 2.0.0 finds it valid; this holds what a release could forget."""
    found = read(root / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= found.keys()
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == Version(harness.__version__).base_version
    assert found["license"] in (root / "pyproject.toml").read_text("utf-8")
    (paper,) = found["references"]
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in paper["url"]
    assert all(author["family-names"] for author in paper["authors"])


def test_a_released_version_is_in_the_changelog(root: Path) -> None:
    titles = re.findall(r"(?m)^## (.+)$", (root / "CHANGELOG.md").read_text("utf-8"))
    version = Version(harness.__version__)
    if version.is_devrelease:
        assert titles[0] == "Unreleased"
    else:
        assert any(
            re.fullmatch(rf"{re.escape(str(version))}\b.*\d{{4}}-\d\d-\d\d\)?", title) for title in titles
        )


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_what_the_host_needs(root: Path, name: str) -> None:
    form = read(root / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml")
    assert form["name"]
    assert form["description"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in form["body"]} <= KINDS
    assert len({part["id"] for part in fields}) == len(fields) >= 2
    assert all(part["attributes"]["label"] for part in fields)
    assert any(part.get("validations", {}).get("required") for part in fields)


def test_every_form_is_tested(root: Path) -> None:
    found = {path.stem for path in (root / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert found == {*FORMS, "config"}
