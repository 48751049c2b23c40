r"""Tokens of an answer: its numbers, letters and signs, in one spelling for many.

Left out, or brought to one spelling: LaTeX's typesetting (\left, \text, blank commands, braces), currency signs, units
and counted things behind a value, articles, lead-in words ("the answer is"), that a name is an integer or real. Any
other condition is a part of the answer. Bare single letters are never units here: `3s` is three times s. A pattern is
taken from both texts that are compared, so that it hides nothing but itself.

The tokens are this module's own and not the grader's, so that an audit does not repeat the grader's errors.
"""

import re
import unicodedata
from collections import Counter

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "‐": "-",
        "×": r"\times ",
        "·": r"\times ",
        "⋅": r"\times ",
        "*": r"\times ",
        "÷": "/",
        "⁄": "/",
        "∕": "/",
        "≤": r"\le ",
        "⩽": r"\le ",
        "≥": r"\ge ",
        "⩾": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "≡": r"\equiv ",
        "±": r"\pm ",
        "∓": r"\mp ",
        "∈": r"\in ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∞": r"\infty ",
        "√": r"\sqrt ",
        "°": r"^\circ ",
        "′": "'",
        "’": "'",
        "‘": "'",
        "。": ".",
        "、": ",",
        "∨": ",",
        "∅": r"\emptyset ",
        "△": r"\triangle ",
        "∠": r"\angle ",
        "π": r"\pi ",
        "θ": r"\theta ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "γ": r"\gamma ",
        "λ": r"\lambda ",
        "μ": r"\mu ",
        "φ": r"\phi ",
        "ω": r"\omega ",
        "ℤ": "Z",
        "ℝ": "R",
        "ℕ": "N",
    }
)
_ALIASES = {
    "leq": "le",
    "leqslant": "le",
    "geq": "ge",
    "geqslant": "ge",
    "neq": "ne",
    "cdot": "times",
    "ast": "times",
    "div": "/",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "mid": "|",
    "colon": ":",
    "lbrace": r"\{",
    "rbrace": r"\}",
    "lbrack": "[",
    "rbrack": "]",
    "lt": "<",
    "gt": ">",
    "varnothing": "emptyset",
    "bar": "overline",
    "varphi": "phi",
    "dfrac": "frac",
    "tfrac": "frac",
    "cfrac": "frac",
    "rightarrow": "to",
    "land": ",",
    "wedge": ",",
    "lor": ",",
    "vee": ",",
}
_FUNCTIONS = "sqrt|sin|cos|tan|cot|sec|csc|ln|log|arcsin|arccos|arctan"
_UNITS = (
    "units?|degrees?|radians?|inch(?:es)?|foot|feet|yards?|miles?|acres?|hectares?"
    "|(?:centi|milli|kilo|deci)?met(?:er|re)s?|(?:milli|kilo|centi)?grams?|tonn?e?s?|pounds?|ounces?|lbs?"
    "|(?:milli)?lit(?:er|re)s?|gallons?|quarts?|pints?|cups?"
    "|seconds?|minutes?|hours?|days?|weeks?|months?|years?|dollars?|cents?|euros?|yuan|USD|mph|kmh"
    "|cm|mm|km|dm|kg|mg|gm|ft|yd|mi|oz|ml|mL|min|hrs?|sec|sq|square|cubic"
)
_CHINESE_UNITS = "厘米|分米|毫米|千米|公里|平方|立方|千克|毫升|小时|分钟|元|角|分|岁|人|个|只|米|克|吨|升|秒|天|年|度"
# Behind a value, with its power. Single letters are units in \text alone.
_POWER = r"(?:\s*\^\s*(?:\d|\{\s*-?\d\s*\})|\s+(?:squared|cubed)(?![A-Za-z]))?"
_SHORT_UNIT = re.compile(r"(?<=[\d})])(\s*)\\(?:text\w*|mbox|mathrm)\s*\{[\s~]*[mgshLlN](?:\s*/\s*[sh])?\s*\}" + _POWER)
_UNIT = re.compile(
    rf"(?<=\S)\s*(?<![A-Za-z\\])(?:per\s+)?(?:{_UNITS})(?![A-Za-z]){_POWER}|(?<=\d)\s*(?:{_CHINESE_UNITS})"
)
# Words that a counted thing cannot be: they change what a number says.
_MEANING = (
    "not|no|less|more|than|least|most|over|under|below|above|negative|minus|plus|times|twice|thrice|double|half|halves"
    "|thirds?|quarters?|dozens?|hundreds?|thousands?|millions?|billions?|tens|percent|squared|cubed|if|when|where|for"
    "|with|or|and|to|from|through|between|each|both|except|without|at|am|pm|is|are|by|factorial|mod|base|even|odd|all"
    "|any|only|greater|fewer|smaller|larger|remainder"
)
_THING = rf"(?!(?:{_MEANING})(?![A-Za-z]))"
_THINGS = {length: rf"{_THING}[a-z]{{{length},}}(?:[\s.]+{_THING}[a-z]{{{length},}})*" for length in (3, 4)}
_COUNTED = re.compile(
    rf"(?<=[\d}}])\s*\\(?:text\w*|mbox|mathrm)\s*\{{\s*{_THINGS[3]}[\s.]*\}}$|(?<=[\d}}])\s+{_THINGS[4]}$"
)
_NAMES = r"(?<![A-Za-z\\])[A-Za-z](?:_\w)?(?:\s*,\s*[A-Za-z](?:_\w)?){0,3}"
_KINDS = r"(?:an?\s+|any\s+|all\s+|every\s+|some\s+|arbitrary\s+)*(?:integers?|real(?:\s+numbers?)?|reals)"
_OF_A_KIND = re.compile(
    rf"(?<=\S)\s*[,;:(（]{{0,3}}\s*(?:(?:where|for|with|and)\s+)?(?:(?:for\s+)?(?:any|all|every|some)\s+)?"
    rf"(?:{_NAMES}\s*\\in\s*\{{?\s*[ZR]\s*\}}?(?![A-Za-z])(?!\s*[\^_])|{_NAMES}\s+(?:is|are|be|as)?\s*{_KINDS}(?![A-Za-z])"
    rf"|{_KINDS}\s+{_NAMES}(?![A-Za-z=])|{_NAMES}\s*[为是]\s*(?:任意)?(?:整数|实数))\s*[)）]?"
)
_NUMERALS = {
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "eleven": "11",
    "twelve": "12",
}
_FRACTION = r"\\[dtc]?frac(?![A-Za-z])\s*"
_SPELLINGS = [
    (re.compile(pattern), spelling)
    for pattern, spelling in [
        (r"\\\\(?:\[[^\[\]]*\])?", " \x00 "),  # a matrix's next row
        (r"\\(?:left|right)\s*\.|\\(?:left|right|[Bb]igg?[lrm]?|displaystyle|textstyle|limits|boxed)(?![A-Za-z])", " "),
        (r"\\phantom\s*(?:\{[^{}]*\}|[-+])", ""),
        (r"(?<=\d)\s*(?:,\s*\\!|\\!\s*,|\{,\}|\\,)\s*(?=\d{3}(?!\d))", ""),
        (r"\\!", ""),
        (r"\\[,;: ]|\\q?quad(?![A-Za-z])|~|\\(?:thinspace|enspace)(?![A-Za-z])", " "),
        (r"\\?\$|[€£¥￥]|\\[()\[\]]", " "),
        (r"\\?%|(?<![A-Za-z])(?:percent|per cent)(?![A-Za-z])", "%"),
        (
            r"(?<![\d,.(\[])(?<![(\[]-)(\d{1,3})((?:,\d{3})+)(?![\d,]|\s*(?:\^\s*\\circ)?[)\]])",  # (1,234) is a pair
            lambda match: match[1] + match[2].replace(",", ""),
        ),
        (
            r"(?<![\d,./}])(?<![\d}] )(\d{1,3})((?: \d{3})+)(?!\s*[\d/]|\s*\\[dt]?frac)",
            lambda match: match[1] + match[2].replace(" ", ""),
        ),
        (rf"{_FRACTION}(\d|[A-Za-z])", r"\\frac{\1}"),
        (rf"{_FRACTION}(\\[A-Za-z]+)", r"\\frac{\1}"),
        (r"(?<![\d.])\.(?=\d)", "0."),
        (r"\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r"\\overline{\1\2\3}"),
        (r"\\(?:dot|overline|bar)\s*\{?(\d+)\}?", r" \\overline{\1}"),
        (r"(\.\d*)\((\d+)\)", r"\1 \\overline{\2}"),
        (r"(?<=\.) \\overline", r"0 \\overline"),
        (r"(\d)[eE]([-+]?\d+)(?!\w)", r"\1\\times 10^{\2}"),
        (r"(?<![\d.])1\s*\\(?:times|cdot)\s*(?=10\s*\^)", ""),
        (r"\*\*", "^"),
        (r"(?<![A-Za-z\\])([A-Za-z]\s*)\\in(?![A-Za-z])(?=\s*[(\[])", r"\1="),  # of an interval
        (r"(?<![A-Za-z\\])([A-Z]\s*)(?=\([^()]*,[^()]*\))", r"\1="),  # a point's coordinates
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\\degrees?(?![A-Za-z])", r"\\circ "),
        (r"\^\s*\{\s*((?:\\prime\s*|')+)\}|\^\s*(\\prime(?![A-Za-z])|')", r"\1\2 "),
        (r"\\prime(?![A-Za-z])", "'"),
        (rf"(?<![\\A-Za-z])({_FUNCTIONS}|pi|infty)(?![A-Za-z])", r"\\\1 "),
        (r"\\sqrt\s*\[([^\[\]]*)\]", r"\\sqrt \1 "),
        (r"(?<=\d)(?:st|nd|rd|th)(?![A-Za-z])", ""),
    ]
]
_WRAPPER = r"\\(?:text\w*|mbox|math(?!op|ring)[a-z]+|operatorname\*?|boldsymbol|bm|rm|bf|it)(?![A-Za-z])\s*"
_WRAPPED, _WRAPPER = re.compile(_WRAPPER + r"\{([^{}]*)\}"), re.compile(_WRAPPER)
_WORDS = [
    (re.compile(rf"(?<![A-Za-z\\])(?:{pattern})(?![A-Za-z])", re.IGNORECASE), spelling)
    for pattern, spelling in [
        (r"(?:the\s+)?(?:final\s+)?(?:answer|solution|value)\s*(?:is|are|:)(?:\s+(?=the\b))?", " "),
        (r"(?:therefore|thus|hence|so)\s*,?(?=\s)", " "),
        (r"(?:is\s+)?(?:no\s+less\s+than|at\s+least|greater\s+than\s+or\s+equal\s+to)", r" \\ge "),
        (r"(?:is\s+)?(?:no\s+more\s+than|at\s+most|less\s+than\s+or\s+equal\s+to)", r" \\le "),
        (r"(?:is\s+)?(?:less|smaller|fewer)\s+than", " < "),
        (r"(?:is\s+)?(?:greater|more|larger)\s+than", " > "),
        (r"(?:negative|minus)(?=[\s~]*[\\\d({A-Za-z])", "-"),
        (r"or|and|或|和", " , "),
        (r"(?:the|an?)(?=\s+[A-Za-z]{2,})", " "),
        ("|".join(_NUMERALS), lambda match: f" {_NUMERALS[match[0].lower()]} "),
    ]
]
_LEADING = re.compile(r"^\s*\\approx(?![A-Za-z])")
_ENVIRONMENT = re.compile(r"\\begin\s*\{(\w+)\*?\}(?:\{[clr|]*\})?((?:(?!\\begin).)*?)\\end\s*\{\1\*?\}", re.DOTALL)
_BRACKETS = {"matrix": ("", ""), "vmatrix": ("|", "|")}
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\\[A-Za-z]+|\\[{}]|[^\s]")
_IGNORED = frozenset('."“”?`\\')
_ATOM = re.compile(r"\d.*|[^\W\d_]|\\(?!(?:sqrt|sin|cos|tan|cot|sec|csc|ln|log|times|le|ge|ne)$)[a-z]+|\)", re.DOTALL)


def tokens(text: str) -> Counter[str]:
    """Numbers, letters and signs of a text, counted; what may be left out is not among them."""
    return Counter(token for token in _without_needless_brackets(_tokens(_plain(text))) if token)


def _plain(text: str) -> str:
    """One spelling for many, without typesetting, units and lead-in words."""
    for sign, digits in (("^", _RAISED), ("_", _LOWERED)):
        pattern = f"[{''.join(digits)}]+"
        text = re.sub(pattern, lambda part: f"{sign}{{{''.join(map(digits.get, part[0]))}}}", text)  # noqa: B023
    text = re.sub("[½¼¾⅓⅔⅕⅛]", lambda part: " " + unicodedata.normalize("NFKC", part[0]), text)
    text = text.replace("**", "^").translate(_CHARACTERS)
    text = unicodedata.normalize("NFKC", text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = " ".join(text.split())
    text = _COUNTED.sub(" ", _SHORT_UNIT.sub(r"\1", _LEADING.sub("", text)).rstrip(" .,;\n"))
    text = _WRAPPER.sub(" ", _WRAPPED.sub(r" \1 ", _WRAPPED.sub(r" \1 ", text)))
    text = re.sub(r"(?<=[A-Za-z]{2})'s(?![A-Za-z])|(?<=[A-Za-z]{2}s)'(?=\s)", "s", text)
    text = re.sub(r"(?<=[A-Za-z0-9])-(?=[A-Za-z]{3})(?<=[A-Za-z]{2}-|.\d-)", " ", text)
    text = _OF_A_KIND.sub(" ", text)
    for pattern, spelling in _WORDS:
        text = pattern.sub(spelling, text)
    text = _COUNTED.sub(" ", _UNIT.sub(" ", text.strip()).rstrip(" .,;"))
    for _ in range(5):  # environments inside of others
        text, changed = _ENVIRONMENT.subn(_environment, text)
        if not changed:
            break
    return text


def _environment(match: re.Match[str]) -> str:
    """A matrix in brackets: a column is a list, of more columns the rows stay apart; of others the lines alone."""
    name, inside = match[1], re.sub(r"[\s\x00]+$", "", match[2])
    if not name.endswith("matrix"):
        return " " + inside.replace("&", " ").replace("\x00", ",") + " "
    opening, closing = _BRACKETS.get(name, ("(", ")"))
    row = " \x01 " if "&" in inside else " , "
    return f" {opening} {inside.replace('&', ',').replace(chr(0), row)} {closing} "


def _tokens(text: str) -> list[str]:
    """The tokens in order; separators that follow one another are one, at the ends none."""
    has_function = re.search(rf"\\(?:{_FUNCTIONS})(?![A-Za-z])", text.replace(r"\sqrt", ""))
    made: list[str] = []
    depth, numerators = 0, []  # of braces; the depths at which fractions stand whose numerator is not yet closed
    for token in _TOKEN.findall(text):
        if token[0] == "\\" and token not in (r"\{", r"\}"):
            name = _ALIASES.get(token[1:], token[1:])
            token = f"\\{name}" if name.isalpha() else name
        elif token[0].isdigit() and "." in token:
            token = token.rstrip("0").rstrip(".")
        elif token in "\x00\x01;":
            token = ";" if token == "\x01" else ","  # a semicolon stands for the rows of a matrix alone
        before = made[-1] if made else "("
        if token == r"\frac":
            numerators.append(depth)
        elif token == "{":
            depth += 1
            made.append("(")
        elif token == "}":
            depth -= 1
            made.append(")")
            if numerators and numerators[-1] == depth:
                numerators.pop()
                made.append("/")
        elif not (
            token in _IGNORED
            or (token == r"\circ" and not has_function)
            or (token == "," and before in (",", ";", "("))
            or (token == "+" and before in (",", "(", "[", "="))
        ):
            made.append(token)
    while made and made[-1] == ",":
        made.pop()
    return _products(made) + ["/"] * len(numerators)


def _products(made: list[str]) -> list[str]:
    """Without signs of products but those between two numbers, which keep them apart."""
    remaining = []
    for place, token in enumerate(made):
        around = made[place - 1 : place] + made[place + 1 : place + 2]
        if token != r"\times" or (len(around) == 2 and all(part[0].isdigit() or part == "/" for part in around)):
            remaining.append(token)
    return remaining


def _without_needless_brackets(tokens: list[str]) -> list[str]:
    """Without round brackets that change nothing: those that stand around one factor, or around other brackets."""
    pairs, open_, partner = [], [], {}
    for place, token in enumerate(tokens):
        if token == "(":
            open_.append(place)
        elif token == ")" and open_:
            pairs.append((open_.pop(), place))
            partner[pairs[-1][0]] = place
    remaining = list(tokens)
    for start, end in pairs:
        inside = _outermost(tokens[start + 1 : end])
        before, after = (tokens[start - 1] if start else ""), (tokens[end + 1] if end + 1 < len(tokens) else "")
        around_all = start == 0 and end == len(tokens) - 1
        doubled = partner.get(start + 1) == end - 1
        if doubled or not (_is_list(inside) or (not around_all and _binds(inside, before, after))):
            remaining[start] = remaining[end] = ""
    return remaining


def _outermost(inside: list[str]) -> list[str]:
    """The tokens that stand in no further round bracket; of each of those the closing one."""
    depth, outermost = 0, []
    for token in inside:
        depth -= token == ")"
        if depth == 0 and token != "(":
            outermost.append(token)
        depth += token == "("
    return outermost


def _is_list(inside: list[str]) -> bool:
    return any(token in (",", ";") for token in inside)


def _binds(inside: list[str], before: str, after: str) -> bool:
    """Whether brackets around these tokens hold them together against what stands beside them."""
    if any(token in ("+", "-", r"\pm", r"\mp", "=", "<", ">", r"\le", r"\ge") for token in inside[1:]):
        return True
    if inside[:1] == ["-"]:
        return after == "^" or bool(_ATOM.fullmatch(before))
    factors = sum(
        bool(_ATOM.fullmatch(token)) and previous not in ("^", "_")
        for previous, token in zip(["", *inside], inside, strict=False)
    )
    return (before == "/" and factors > 1) or (after == "^" and (factors > 1 or "^" in inside))
