"""The pictures of docs/bars.md are what the code draws today."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_the_pictures_are_up_to_date_and_shown() -> None:
    if not DOCS.is_dir():
        pytest.skip("no docs beside the tests: not a checkout")
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn: dict[str, str] = module.pictures()
    page = (DOCS / "bars.md").read_text()
    assert sorted(drawn) == sorted(path.name for path in (DOCS / "pictures").iterdir())
    for name, text in drawn.items():
        assert (DOCS / "pictures" / name).read_text() == text
        assert f"](pictures/{name})" in page
        ET.fromstring(text)  # noqa: S314  our own text
