"""Pages of experiments in a report: their tables, pictures and headings, and nothing that could run in a browser."""

import base64

import pytest

from r1jax.report import findings
from r1jax.tools import report

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = """# The aha moment

See [the script](aha.py), [the paper](https://arxiv.org/abs/2501.12948).

## In short

| finding | here |
|---|---|
| longer | 3 & 4 |
| right | 5 ± 1 |

## Measured

<script>alert(1)</script>

```text
<think> 3*5 </think>
```

![curves](aha.png)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "aha.md").write_text(PAGE)
    (tmp_path / "aha.png").write_bytes(PIXEL)
    (tmp_path / "notes.md").write_text("# Notes without a table\n")
    return tmp_path


def test_pages_become_sections_with_their_pictures_inside(folder):
    in_short, section = findings.sections([folder])
    assert in_short.anchor == "findings" and '<a href="#aha">The aha moment</a>' in in_short.html
    assert in_short.html.count("<tr>") == 3 and "<th>page</th>" in in_short.html
    assert (section.title, section.anchor) == ("The aha moment", "aha")
    assert "<h3>In short</h3>" in section.html and "<td>3 &amp; 4</td>" in section.html
    assert "<td>5\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1</td>" in section.html, "no line ends in it"
    assert f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}" in section.html
    assert 'href="https://arxiv.org/abs/2501.12948"' in section.html and "aha.py" not in section.html
    assert "<script" not in section.html and "&lt;think&gt; 3*5" in section.html


def test_pages_come_in_the_papers_order_and_others_after_them_by_name(folder):
    for name in ("zebra", "ladder", "choices"):
        (folder / f"{name}.md").write_text(PAGE.replace("The aha moment", name))
    assert [section.anchor for section in findings.sections([folder])[1:]] == ["aha", "ladder", "choices", "zebra"]


def test_a_report_of_pages_alone_is_one_file(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert report.main([str(folder), f"--out={out}"]) == 0
    assert "findings.html" in capsys.readouterr().out
    page = (out / "findings.html").read_text("utf-8")
    assert '<h2 id="aha">The aha moment</h2>' in page and "How each was made" not in page


def test_a_picture_that_is_not_there_is_named(folder, tmp_path, capsys):
    (folder / "aha.png").unlink()
    assert report.main([str(folder), f"--out={tmp_path / 'out'}"]) != 0
    assert "aha.png" in capsys.readouterr().err
