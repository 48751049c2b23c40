r"""Normalisation of mathematical notation (LaTeX and Unicode), of choices, and of answers in words.

A policy may write anything, so every function takes time linear in its text.
"""

import re

from r1jax.graders.math.words_and_units import is_word

MAX_FORMULA = 400  # characters; the longest reference of the sets measured has 159
_MAX_DEPTH = 12  # of nested brackets and bars; the parser's time grows exponentially with it
_MAX_EXPONENT = 10_000

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n", strict=True))
_GREEK = {
    letter: name
    for letter, name in zip(
        "αβγδεθλμνρστφψωΓΔΘΛΣΦΨΩµ",
        re.findall(
            r"\w+",
            """
    alpha beta gamma delta epsilon theta lambda mu nu rho sigma tau phi psi omega Gamma Delta Theta Lambda Sigma Phi Psi
    Omega mu
    """,
        ),
        strict=True,
    )
}
# Not Unicode's NFKC, which turns 4² into 42.
_CHARACTERS = (
    {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}
    | {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "﹣": "-",
        "⩽": r"\le ",
        "⩾": r"\ge ",
        "≈": r"\approx ",
        "≡": r"\equiv ",
        "±": r"\pm ",
        "∈": r"\in ",
        "∪": r"\cup ",
        "∞": r"\infty ",
        "∨": r"\vee ",
        "π": r"\pi ",
        "θ": r"\theta ",
        "√": r"\sqrt ",
        "°": r"^\circ ",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
        "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "ℤ": r"\mathbb{Z}",
        "ℕ": r"\mathbb{N}",
        "∀": r"\forall ",
        "…": r"\ldots ",
        "⋅": r"\cdot ",
        "′": "'",
        "″": "''",
        "∧": r"\wedge ",
        "∖": r"\setminus ",
        "∣": "|",
        "△": r"\triangle ",
        "∠": r"\angle ",
        "。": ".",
        "、": ",",
        "’": "'",
        "\u3000": " ",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
    | {letter: rf"\{name} " for letter, name in _GREEK.items()}
)
_INVISIBLE = (0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065))
_TRANSLATION = str.maketrans(_CHARACTERS | dict.fromkeys(map(chr, _INVISIBLE), ""))
_SUPERSCRIPT_RUN = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUBSCRIPT_RUN = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_FUNCTIONS = "arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|ln|log|lg"
_FUNCTIONS_IN_TEXT = _FUNCTIONS.replace("sec|", "")  # \text{sec} is a second
_BASE_NAMES = list(enumerate(re.findall(r"\w+", "two three four five six seven eight nine ten eleven twelve"), 2))
_SPELLINGS = [
    (re.compile(pattern), spelling)
    for pattern, spelling in [
        (r"\\operatorname\*?\s*\{([A-Za-z]{1,20})\}", r"\\\1 "),
        (r"\\(?:text)?color\s*\{[^{}]{0,40}\}", ""),
        (r"\\(?:math(?:bf|it|sf|normal)|boldsymbol|bm|textbf|textit)\s*\{\s*([A-Za-z])\s*\}", r"\1"),
        (r"\\(?:math(?:bf|it|sf|normal)|boldsymbol|bm)\s*\{\s*(\\?[A-Za-z]+|\d+)\s*\}", r"{\1}"),
        (rf"\\(?:text|math)(?:rm)?\s*\{{\s*({_FUNCTIONS_IN_TEXT}|i)\s*\}}", r"\\\1 "),
        (r"\\i ", "i"),
        (r"\\text\s*\{\s*\\?%\s*\}", "%"),
        (r"\\text\s*\{\s*\\\$\s*\}", "＄"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\not\s*=", r"\\ne "),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\colon(?![A-Za-z])|\{:\}", ":"),
        (r"\\math(?:sf|bf|it|rm)\s+([A-Za-z])(?![A-Za-z])", r"\1"),
        (r"\\mathrm\s*\{\s*([eid])\s*\}", r"\1"),
        (r"\\(?:text[a-z]{2,6}|mbox|math(?:rm|bf|it|sf))\s*\{", r"\\text{"),
        (r"\\text\s+\{", r"\\text{"),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\(?:left|right)\s*\.|\\(?:left|right|[Bb]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])", ""),
        (r"(?<=\d)(?:,\s*\\!|\{,\})\s*(?=\d{3})", ""),
        (r"\\!|\\phantom\s*(?:\{\s*[-+]?\s*\}|[-+])", ""),
        (r"(?<!\\)\\[,;: ]|\\q?quad(?![A-Za-z])|\\(?:thin|med|thick)space(?![A-Za-z])|~", " "),
        (r"(?<!\\)\\\$", "＄"),  # a currency, never a delimiter
        (r"(?<!\\)\\([%&#])", r"\1"),
        (r"\\([gln])eq?(?:slant|q)?(?![A-Za-z])", r"\\\1e "),
        (r"(?<![<>=])<=(?![>=])", r"\\le "),
        (r"(?<![<>=])>=(?!=)", r"\\ge "),
        (r"!=(?!=)", r"\\ne "),
        (r"\\[lr]?vert(?![A-Za-z])|\\mid(?![A-Za-z])", "|"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\lparen(?![A-Za-z])|\\langle(?![A-Za-z])", "("),
        (r"\\rparen(?![A-Za-z])|\\rangle(?![A-Za-z])", ")"),
        (r"\\lbrack(?![A-Za-z])", "["),
        (r"\\rbrack(?![A-Za-z])", "]"),
        (r"\((\d[\dA-F]{0,40})\)(?=_)", r"\1"),
        (r"(?<=\d)\\text\{\s*([A-F])\s*\}(?=[\dA-F]*_)", r"\1"),
        *(
            (rf"(?<=[\dA-F])_\s*\{{\s*(?:\\text\s*\{{)?\s*{word}\s*\}}?\s*\}}", f"_{{{base}}}")
            for base, word in _BASE_NAMES
        ),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(?:dots[a-z]?|cdots)(?![A-Za-z])|(?<![.\d])\.\.\.(?!\.)", r"\\ldots "),
        (r"\\(?:lor)(?![A-Za-z])", r"\\vee "),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\\degrees?(?![A-Za-z])", r"^\\circ "),
        (r"\^\s*(?:\\prime(?![A-Za-z])|\{\s*\\prime\s*\}|\{'\})", "'"),
        (r"\^\s*(?:\{\s*\\prime\s*\\prime\s*\}|\{''\})", "''"),
        (r"\{([^{}]{1,99})\\choose(?![A-Za-z])([^{}]{1,99})\}", r"\\binom{\1}{\2}"),
        (r"^([^{}]{1,99})\\choose(?![A-Za-z])([^{}]{1,99})$", r"\\binom{\1}{\2}"),
        (r"\{([^{}]{1,99})\\over(?![A-Za-z])([^{}]{1,99})\}", r"\\frac{\1}{\2}"),
        (r"^([^{}=]{1,99})\\over(?![A-Za-z])([^{}]{1,99})$", r"\\frac{\1}{\2}"),
        (r"(?<=[.\d])\\dot\s*(?:\{(\d)\}|(\d))(\d*)\\dot\s*(?:\{(\d)\}|(\d))", r"\\overline{\1\2\3\4\5}"),
        (r"(?<=[.\d])\\dot\s*(?:\{(\d)\}|(\d))", r"\\overline{\1\2}"),
        (r"(?<=\d\.)(\d{0,20})\((\d{1,20})\)", r"\1\\overline{\2}"),
        (r"(?<=\d)\.(?=\s*/)", ""),
        (r"_\s*\{\s*(\w|\\[A-Za-z]{1,20})\s*\}(?!\w)", r"_\1"),
        (r"_\s*\{\s*\\text\{\s*(\w{1,20})\s*\}\s*\}", r"_{\1}"),
        (r"(\\text\{[^{}]{0,99})\^\s*\{\s*(-?\d)\s*\}", r"\1^\2"),
        (r"\\frac\s*(\d|(?<=\s)[A-Za-z]|\\pi(?![A-Za-z]))", r"\\frac{\1}"),
        (r"(\\frac\s*\{[^{}]{0,99}\})\s*(\d|[A-Za-z]|\\pi(?![A-Za-z]))", r"\1{\2}"),
        (
            rf"(?<![\\A-Za-z])(sqrt|{_FUNCTIONS}|binom)"
            r"(?=\s*[({_^\\]|\s*\d|\s+[a-z]\b)",
            r"\\\1 ",
        ),
        (r"(\d)又(\d{1,9})/(\d{1,9})", r"\1 \2/\3"),
        (r"(?<!\d)(\d{1,9})分之(\d{1,9})", r"\\frac{\2}{\1}"),
        (
            r"(?<=[\dA-F])\s{0,3}\(?\s?(?:\\text\s?\{\s?\(?)?(?:in\s)?base\s?[-=]?\s?(\d{1,2})\s?\)?\}?\)?(?!\w)",
            r"_{\1}",
        ),
        (r"(?<![\\A-Za-z])(pi|theta|alpha|beta|infty)(?![A-Za-z])", r"\\\1 "),
        (r"(?<![\\A-Za-z])(\+?-?)\s*(?:infinity|inf)(?![A-Za-z])", r"\1\\infty "),
        (r"\\sqrt\s*\(([^()]{1,99})\)", r"\\sqrt{\1}"),
        (r"\\text\{\s*(?:negative|minus)\s*\}\s*(?=[\d\\$])|(?<![\w\\])(?:[Nn]egative|[Mm]inus)\s+(?=[\d\\$])", "-"),
        (r"(?<![\w)}*])\*\*(?![\s*])([^*\n]{1,200})\*\*(?![\w({*])", r"\1"),
        (r"(?<![\w)}_])__(?![\s_])([^_\n]{1,200})__(?![\w({_])", r"\1"),
    ]
]
_PLAIN_TEXT = re.compile(r"[\w ,:'-]*(?:\.[\w ,:'-]+)*\.?", re.ASCII)
_NAMES_TO_REPLACE = re.compile(
    r"(?<![A-Za-z])(?:pi|theta|alpha|beta|inf|minus|negative|base)|sqrt|sin|cos|tan|ln|log|lg|__|又|分之", re.IGNORECASE
)
_BLANK = re.compile(r"(?<![\d.])\s+|\s+(?![\d.])")
_ONLY_TEXT = re.compile(r"\s*\\text\{([^{}]*)\}\s*")
TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")


_ESCAPES = [
    (re.compile(pattern), spelling)
    for pattern, spelling in [
        (r"\f(?=rac(?![A-Za-z]))", r"\\f"),
        (r"\x08(?=inom|eta(?![A-Za-z]))", r"\\b"),
        (r"\n(?=eq?(?![A-Za-z]))", r"\\n"),
        (r"\t(?=ext|imes|heta|frac|an(?![A-Za-z]))", r"\\t"),
        (r"\r(?=ight|ho(?![A-Za-z]))", r"\\r"),
    ]
]


def restore_commands(text: str) -> str:
    r"""A text with LaTeX commands restored that were taken for escapes when its file was written: "\n" and "eq"."""
    for pattern, spelling in _ESCAPES:
        text = pattern.sub(spelling, text)
    return text


def normalize(text: str) -> str:
    r"""The same mathematics in plain notation: no \left, \dfrac or \!, ASCII, one `\text` for all similar commands.

    White space and line breaks stay. Invisible characters are removed, so that none can hide a digit.
    """
    if not text.isascii():
        text = _SUPERSCRIPT_RUN.sub(lambda run: "^{" + "".join(map(_SUPERSCRIPTS.get, run[0])) + "}", text)
        text = _SUBSCRIPT_RUN.sub(lambda run: "_{" + "".join(map(_SUBSCRIPTS.get, run[0])) + "}", text)
        text = text.translate(_TRANSLATION)
    if not _PLAIN_TEXT.fullmatch(text) or _NAMES_TO_REPLACE.search(text):
        for pattern, spelling in _SPELLINGS:
            text = pattern.sub(spelling, text)
        if only_text := _ONLY_TEXT.fullmatch(text):
            text = only_text[1]
    return text.strip()


def without_spaces(text: str) -> str:
    """A text without white space, except between digits: 2 1/4 is not 21/4."""
    return _BLANK.sub("", text.strip())


_BRACKETS_AND_BARS = re.compile(r"[({\[]|[)}\]]|\|")
_POWER = re.compile(r"(?:\^|\*\*)[\s{(-]*(\d+)[\s})]*(?:(?:\^|\*\*|!)[\s{(-]*(\d*))?")
_TOWER = re.compile(
    r"(?:(?:\^|\*\*)[\s{(-]*\w+\s*){3}|!\s*!|\d{5}[\s})]*!|binom\s*\{[^{}]*(?:\d{5}|\}\s*\{[^{}]*\d{5})"
)


def is_too_complex(formula: str) -> bool:
    """Whether a formula is refused without parsing: too long or deep, or too large exponents, towers or factorials."""
    if len(formula) > MAX_FORMULA or _TOWER.search(formula):
        return True
    depth = max_depth = 0
    for bracket in _BRACKETS_AND_BARS.findall(formula):
        depth += -1 if bracket in ")}]" else 1
        max_depth = max(max_depth, depth)
    return max_depth > _MAX_DEPTH or any(_is_huge(*match) for match in _POWER.findall(formula))


def _is_huge(exponent: str, outer_exponent: str) -> bool:
    if max(len(exponent), len(outer_exponent)) > 5:
        return True
    return int(exponent) ** min(int(outer_exponent or "1"), 20) > _MAX_EXPONENT


_CHOICE = re.compile(
    r"(?:(?:option|choice)\s+)?(?:\(([A-J])\)[.:]?|\[([A-J])\]|([A-J])[.:)](?=\s|$)|([A-J])$)"
    r"(?:\s+([\w$\\].*))?",
    re.DOTALL,
)
_ANOTHER_CHOICE = re.compile(r"(?:or|and)\b|[A-J]\b[.:)]|\([A-J]\)|[A-J]$")
_WORDS = re.compile(r"[^\W_]+(?:[:.'/-][^\W_]+)*|(?<!\w)-|[%+=<>^*\\|~#@]")
_LONG_WORD = re.compile(r"(?<!\\)\b(?:[^\W\d_]{3,}|[Nn]o)\b|[\u4e00-\u9fff]")
_TIME = re.compile(r"(?<![\d:])(\d{1,2})(?::(\d\d))?((?::\d\d)?)\s*([ap])\.?\s?m\b\.?")
_RATIO = re.compile(r"(?<!.)(\d+) to (\d+)$")
_CLOCK = re.compile(r"\d+(?::\d+)+(?:\s*[ap]\.?\s?m\.?)?|\d+\s*[ap]\.?\s?m\.?", re.IGNORECASE)


def choice_letter(text: str) -> str | None:
    """The letter, A to J, of a text that is one choice: `C`, `(C)`, `C. 42`; else None."""
    match = _CHOICE.fullmatch(TEXT.sub(r"\1", text).strip("$ \n").rstrip(" .,"))
    if not match or (match[5] and _ANOTHER_CHOICE.search(match[5])):
        return None
    return match[1] or match[2] or match[3] or match[4]


def is_literal(text: str) -> bool:
    """Whether an answer is words, a time of day or a ratio, which are compared as text."""
    text = TEXT.sub(r"\1", text).strip()
    if _CLOCK.fullmatch(text):
        return True
    words = [word for word in _LONG_WORD.findall(text) if word not in ("and", "or")]
    products = [word for word in words if word.isascii() and not (word.isupper() or word.istitle())]
    if words and all(word in products and not is_word(word, 0, len(word)) for word in words):  # abc, nRT
        return False
    return bool(words) and not re.search(r"[=+^_<>*\\|$]", text)


def _to_24_hours(time: re.Match[str]) -> str:
    """A time with a.m. or p.m. on the 24-hour clock: 3:30 p.m. as 15:30."""
    hour = int(time[1]) % 12 + 12 * (time[4] == "p")
    return f"{hour}:{time[2] or '00'}{time[3]}"


def normalize_words(text: str) -> str:
    """A text's words, numbers and signs, in lower case, with times of day in one spelling."""
    text = _TIME.sub(_to_24_hours, TEXT.sub(r"\1", text).lower())
    text = _RATIO.sub(r"\1:\2", re.sub(r"(?<=\d)\s*:\s*(?=\d)", ":", text.strip()))
    words = _WORDS.findall(text)
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)
