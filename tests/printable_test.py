"""What a server, a model or a file says steers no terminal."""

import unicodedata

import pytest

from r1jax.config import exit_status, printable
from r1jax.io.console import say

EVIL = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u2066 \x9b31m \r\b\x7f \u2028 \ufeff \ud83d end"


def test_trap74_what_would_steer_a_terminal_is_spelled_out() -> None:
    shown = printable(EVIL)
    assert shown.isprintable() and r"\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u2066 \x9b31m \r\x08\x7f" in shown
    assert printable("a\nb\tc\x0b", lines=True) == "a\nb\tc\\x0b" and printable("a\nb") == r"a\nb"


def test_no_control_or_format_character_passes_but_joiners() -> None:
    text = "".join(map(chr, range(0x110000)))
    assert {each for each in printable(text) if unicodedata.category(each)[0] == "C"} == {"\u200c", "\u200d"}


@pytest.mark.parametrize(
    "text",
    [
        "1 + 1 = 2",
        "中文，全角\u3000空格。",
        "no\u00a0break",
        "e\u0301",
        "\U0001f469\u200d\U0001f467",
        "می\u200cخواهم",
        "עברית",
        "± – “x”",
    ],
)
def test_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_trap74_messages_and_errors_reach_the_console_spelled_out(capsys) -> None:
    say(f"first\n{EVIL}")

    def fail() -> None:
        raise ValueError(f"first\n{EVIL}")

    assert exit_status(fail) == 2
    for shown in capsys.readouterr():
        assert [line.isprintable() for line in shown.splitlines()] == [True, True]
