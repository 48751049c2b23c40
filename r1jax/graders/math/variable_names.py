"""Names of variables and functions in formulas: x, a_n, f(x), AB, y', x_{max}."""

import re

from r1jax.graders.math.notation import without_spaces

NAME = re.compile(
    r"(?P<base>\\text\s*\{[^{}]*\}|[A-Z]{1,3}|[A-Za-z]|\\(?!text|pm|mp|frac|sqrt)[A-Za-z]+"
    r"|\\(?:triangle|angle|overline)\s*[A-Z{}]+)"
    r"(?:_(?P<index>\w|\\[A-Za-z]+|\{[\w\\ ,+-]+\}))?(?P<primes>'+|\s*\^\s*\{?\s*-1\s*\}?(?=\s*\(|\s*$))?"
    r"(?:\s*\((?P<arguments>[^()=]{1,40})\))?"
)
_TUPLE_OF_NAMES = re.compile(r"\(([^()=<>]{1,60})\)")


def occurs_in_value(name: re.Match[str], value: str) -> bool:
    """Whether a name occurs in its own value; then `name = value` is an equation and no definition."""
    base = name["base"]
    if name["arguments"] or name["index"]:  # f(x) = f(x-1) + 1
        return bool(re.search(rf"(?<![A-Za-z\\]){re.escape(base)}\s*[_('\^]", value))
    if base.startswith("\\"):
        return base in value
    return base in re.sub(r"\\(?:text|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", value)


def spelled_name(name: re.Match[str]) -> str:
    """A name in canonical spelling, without its parameters."""
    base = re.sub(r"\\text\s*\{\s*([^{}]*?)\s*\}", r"\1", name["base"])
    index = (name["index"] or "").strip("{}")
    if index and index in parameters_of(name)[:1]:
        index = ""
    arguments = "" if parameters_of(name) or not name["arguments"] else f"({without_spaces(name['arguments'])})"
    return f"{base}{'_' * bool(index)}{index}{without_spaces(name['primes'] or '')}{arguments}"


def _is_parameter(text: str) -> bool:
    return bool(re.fullmatch("[a-z]|\\\\(?:theta|phi|alpha|beta|lambda|omega)", text.strip()))


def parameters_of(name: re.Match[str]) -> tuple[str, ...]:
    """The parameters of a name: x of f(x), n of a_n, none of P(0)."""
    index = (name["index"] or "").strip("{}") if name["base"] not in ("f", "g", "h", "u") else ""
    arguments = [argument.strip() for argument in (name["arguments"] or "").split(",") if argument.strip()]
    if not all(map(_is_parameter, arguments)):
        return ()
    return (*((index,) if _is_parameter(index) else ()), *arguments)


def names_of_tuple(text: str) -> list[str] | None:
    """The names of a tuple, (x, y); None where the text is none."""
    if not (names := _TUPLE_OF_NAMES.fullmatch(text)):
        return None
    parts = [NAME.fullmatch(part.strip()) for part in names[1].split(",")]
    if len(parts) < 2 or not all(parts):
        return None
    return [spelled_name(part) + "".join(f"_{index}" for index in parameters_of(part)) for part in parts]
