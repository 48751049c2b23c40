"""A model's own chat template: Jinja source from a checkpoint, so code of strangers, rendered in a sandbox."""

import datetime
import functools
import json
from collections.abc import Mapping
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

Message = Mapping[str, Any]


class _Generation(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` marks what the model wrote; rendered as if it were not there."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A scope, since what a block sets inside the tag is not seen after it in the reference either.
        return jinja2.nodes.Scope(body).set_lineno(line)


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """jinja2's sandbox, with repetition and powers bounded: `"a" * 10**12` is the cheapest way to hang a host."""

    intercepted_binops = frozenset({"*", "**"})
    LIMIT = 1_000_000

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (abs(left) <= self.LIMIT and abs(right) <= 64):
            raise jinja2.sandbox.SecurityError(f"{left!r} ** {right!r} is too large")
        if operator == "*":
            sequence, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(times, int) and hasattr(sequence, "__len__") and len(sequence) * times > self.LIMIT:
                raise jinja2.sandbox.SecurityError(f"a repetition of {len(sequence) * times:,} items is too large")
        return super().call_binop(context, operator, left, right)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Leaves `<`, `&` and letters beyond ASCII as they are, unlike jinja2's own: a prompt is not a web page."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


@functools.lru_cache(maxsize=16)
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


def render_template(source: str, variables: Mapping[str, Any], now: datetime.datetime | None = None) -> str:
    """The text that a chat template makes of its variables: `messages`, `bos_token`, `tools` and so on.

    The template sees plain data only (what JSON can hold), calls no Python that jinja2's sandbox forbids, and cannot
    loop for ever: a `range` ends at 100,000, a repetition at a million items. Loops within loops can still be slow, and
    a text that is doubled in one large: nothing stops them.

    Args:
        now: what `strftime_now` tells the template the time is; None: the clock.

    Raises:
        ValueError: the source does not parse; or the template refuses its variables (in its own words), breaks on
            them, or leaves the sandbox.
    """
    try:
        # Through JSON and back: an object with methods would be a way out of the sandbox.
        plain = json.loads(json.dumps(variables))
        return _compile(source).render(plain | {"strftime_now": (now or datetime.datetime.now()).strftime})
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"the chat template does not parse: line {error.lineno}: {error.message}") from error
    except Exception as error:  # A template is a program and fails like one: TypeError, RecursionError, ...
        raise ValueError(f"the chat template failed: {error or type(error).__name__}") from error
