r"""Formulas read whole: one expression of LaTeX or plain mathematics becomes a tree, or is refused with a reason.

Every character of a formula belongs to a token that the grammar knows, or the formula is refused: nothing is skipped,
so no part of an answer can stand for the whole. Letters side by side are a product (`abc`), a letter with an index or
primes is one symbol (`E_1`, `y''`), and a word is refused. The value of a tree is computed in
`r1jax.graders.math.expression_values`.
"""

import functools
import re
from fractions import Fraction
from typing import NamedTuple

from r1jax.graders.math.words_and_units import is_short_word, is_word


class UnreadableError(ValueError):
    """A formula outside the grammar; the message names the part at which parsing stopped."""


class Node(NamedTuple):
    """An operation and its operands.

    Attributes:
        op: `number`, `symbol`, `constant` (pi, e, i), `+`, `-` (of one), `*`, `/`, `^`, `root` (radicand, degree),
            `!`, `degree`, `%`, `call` (an unknown function), `bind` (a sum or product over a bound name: its bounds
            and its body), or the name of a function: `sin`, `log` (argument, base), `abs`, `floor`, `binom` ...
        args: its operands.
        data: of a number its value, a Fraction; of a symbol, constant or call its name; of `bind` its command and name.
    """

    op: str
    args: tuple["Node", ...] = ()
    data: Fraction | str = ""


_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>\d+(?:\.\d+)?(?:\\overline\s*\{\d+\})?|\.\d+)
  | (?P<text>\\(?:text|mathbb|overline|vec|hat|bar|widehat|overrightarrow|operatorname)\s*\{[^{}]*\})
  | (?P<command>\\(?:[A-Za-z]+|[{}|]))
  | (?P<letters>[A-Za-z]+)
  | (?P<prime>'+)
  | (?P<sign>\*\*|[-+*/^_!%(){}\[\]|,=])
""",
    re.VERBOSE | re.ASCII,
)
_GREEK = frozenset(
    re.findall(
        r"\w+",
        r"""
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar infty
    emptyset varnothing ldots dots cdots
    """,
    )
)
FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
    sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh log ln lg exp max min gcd lcm arg det deg Re Im
    """,
    )
)
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
_BINDERS = frozenset({"sum", "prod"})
_FIGURES = frozenset({"triangle", "angle", "odot", "partial"})  # one symbol with the letters behind them
_COMMANDS = FUNCTIONS | _GREEK | _FIGURES | _BINDERS | {"frac", "sqrt", "pi", "binom", "lfloor", "lceil"}
_FENCES = {"(": ")", "[": "]", "{": "}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_CALLED = frozenset("fgFG")  # letters that a bracket makes functions of; any other before a bracket is a factor
_DIFFERENTIAL = re.compile(r"(?<=[{/])\s*d([A-Za-z])(?=\s*[}^)]|\s*$)")
_MAX_NODES = 600


@functools.lru_cache(maxsize=4096)  # a group's samples share their reference answer, and often their own
def parse(text: str) -> Node:
    """The tree of one expression, tidied (`notation.tidy`); without a relation sign or a list.

    Raises:
        UnreadableError: something in it is no part of the grammar.
    """
    reader = _Reader(_tokens(text))
    tree = reader.sum()
    if reader.kind != "end":
        raise UnreadableError(f"{reader.text!r} cannot stand where it does in {text[:80]!r}")
    return tree


def _tokens(text: str) -> list[tuple[str, str]]:
    """The tokens of a text as (kind, text), every letter one token; together they are all of the text."""
    text = _DIFFERENTIAL.sub(r"\\text{d\1}", text)
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise UnreadableError(f"{text[position]!r} is no mathematics that is read here")
        kind, token = match.lastgroup, match[0]
        if kind == "letters":
            if len(token) > 1 and is_word(text, match.start(), match.end()) and is_short_word(token):
                raise UnreadableError(f"the word {token!r}")
            tokens += [("letter", letter) for letter in token]
        elif kind == "space":
            # Numbers apart stay apart: "2 1/4" is no 21/4. numerals.number reads mixed ones and groups of thousands.
            is_index = tokens[-2:-1] == [("sign", "_")]
            if tokens and tokens[-1][0] == "number" and not is_index and re.match(r"[\d.]", text[match.end() :]):
                raise UnreadableError("two numbers side by side")
        else:
            tokens.append((kind, "".join(token.split()) if kind == "command" else token))
        position = match.end()
    if len(tokens) > _MAX_NODES:
        raise UnreadableError("too long")
    return [*tokens, ("end", "")]


class _Reader:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._place, self._bars = tokens, 0, 0
        self._bound: set[str] = set()
        self.kind, self.text = tokens[0]

    def _next(self) -> str:
        text = self.text
        self._place += 1
        self.kind, self.text = self._tokens[self._place]
        return text

    def _take(self, text: str) -> bool:
        if self.text == text and self.kind in ("sign", "command"):
            self._next()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise UnreadableError(f"{text!r} is missing before {self.text or 'the end'!r}")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[min(self._place + 1, len(self._tokens) - 1)]

    # Operators.

    def sum(self) -> Node:
        terms = [self._signed()]
        while self.text in ("+", "-") and self.kind == "sign":
            minus = self._next() == "-"
            term = self._product()
            terms.append(Node("-", (term,)) if minus else term)
        return terms[0] if len(terms) == 1 else Node("+", tuple(terms))

    def _signed(self) -> Node:
        if self._take("-"):
            return Node("-", (self._product(),))
        self._take("+")
        return self._product()

    def _product(self) -> Node:
        factors = [self._power()]
        while True:
            if self.text in (r"\cdot", r"\times", "*"):
                self._next()
                factors.append(self._factor())
            elif self.text in ("/", r"\div"):
                self._next()
                over = factors[0] if len(factors) == 1 else Node("*", tuple(factors))
                factors = [Node("/", (over, self._factor()))]
            elif self._starts_factor():
                if self.kind == "number" and factors[-1].op == "number":
                    raise UnreadableError("two numbers side by side")
                if self.kind == "number" and factors[-1].op == "symbol":
                    raise UnreadableError(f"the number {self.text} behind a letter")
                factors.append(self._mixed(factors, self._power()))
            else:
                return factors[0] if len(factors) == 1 else Node("*", tuple(factors))

    def _factor(self) -> Node:
        return Node("-", (self._power(),)) if self._take("-") else self._power()

    @staticmethod
    def _mixed(factors: list[Node], factor: Node) -> Node:
        r"""The second factor of a product; 2\frac12 alone is a mixed number and no product."""
        if factor.op == "/" and factors[-1].op == "number" and all(arg.op == "number" for arg in factor.args):
            whole, (over, under) = factors.pop(), factor.args
            if whole.data.denominator != 1 or not 0 < over.data < under.data:
                raise UnreadableError("a number beside a fraction")
            return Node("number", (), whole.data + over.data / under.data)
        return factor

    def _starts_factor(self) -> bool:
        if self.kind in ("number", "letter", "text"):
            return True
        if self.kind == "command":
            name = self.text[1:]
            return name in _COMMANDS
        return self.text in ("(", "{", "[") or (self.text == "|" and not self._bars)

    def _power(self) -> Node:
        base = self._postfix(self._atom())
        if self.text in ("^", "**") and self.kind == "sign":
            self._next()
            if self._take(r"\circ"):
                return self._postfix(Node("degree", (base,)))
            base = self._postfix(Node("^", (base, self._exponent())))
            if self.text in ("^", "**"):
                raise UnreadableError("a power of a power without braces")
        return base

    def _exponent(self) -> Node:
        if self._take("-"):
            return Node("-", (self._exponent(),))
        return self._postfix(self._atom()) if self.text != "{" else self._group()

    def _postfix(self, node: Node) -> Node:
        while self.text in ("!", "%") and self.kind == "sign":
            node = Node(self._next(), (node,))
        return node

    def _group(self) -> Node:
        closing = _FENCES[self._next()]
        bars, self._bars = self._bars, 0
        inner = self.sum()
        self._expect(closing)
        self._bars = bars
        return inner

    # Atoms.

    def _atom(self) -> Node:
        kind, text = self.kind, self.text
        if kind == "number":
            self._next()
            return Node("number", (), number_value(text))
        if kind == "letter":
            return self._symbol(self._next())
        if kind == "text":
            return self._symbol(re.sub(r"\\text\s*\{\s*(.*?)\s*\}", r"\1", self._next()))
        if text in ("(", "{", "["):
            return self._group()
        if text == "|":
            return self._absolute()
        if kind == "command":
            return self._command(text[1:])
        raise UnreadableError(f"{text or 'the end'!r} where a value should stand")

    def _absolute(self) -> Node:
        self._next()
        self._bars += 1
        inner = self.sum()
        self._expect("|")
        self._bars -= 1
        return Node("abs", (inner,))

    def _symbol(self, name: str) -> Node:
        """A letter with its index and primes, e, i, or a function's value."""
        plain = name
        if self._take("_"):
            name += f"_{self._index()}"
        if self.kind == "prime":
            name += self._next()
            if self._take("_"):
                name += f"_{self._index()}"
        called = plain in _CALLED or name.endswith("'")
        if called and self.text == "(":
            return Node("call", self._arguments(), name)
        if name in ("e", "i") and name not in self._bound:
            return Node("constant", (), name)
        return Node("symbol", (), name)

    def _index(self) -> str:
        """An index's text, braces aside: it is part of the symbol's name."""
        if self.text != "{":
            if self.kind not in ("number", "letter", "command", "text"):
                raise UnreadableError(f"{self.text!r} as an index")
            return self._next()
        depth, pieces = 0, []
        while True:
            if self.kind == "end":
                raise UnreadableError("an index that does not close")
            depth += (self.text == "{") - (self.text == "}")
            pieces.append(self._next())
            if depth == 0:
                return "".join(pieces[1:-1])

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(")
        arguments = [self.sum()]
        while self._take(","):
            arguments.append(self.sum())
        self._expect(")")
        return tuple(arguments)

    def _command(self, name: str) -> Node:
        if name in _BINDERS:
            return self._binder(self._next()[1:])
        if name not in _COMMANDS:
            raise UnreadableError(f"\\{name}")
        if name in ("lfloor", "lceil"):
            return Node("floor" if name == "lfloor" else "ceil", (self._group(),))
        self._next()
        if name == "pi":
            return Node("constant", (), "pi")
        if name in _GREEK:
            return self._symbol("\\" + name)
        if name in _FIGURES:
            return self._figure(name)
        if name in FUNCTIONS:
            return self._function(name)
        if name == "sqrt":
            degree = self._group() if self.text == "[" else Node("number", (), Fraction(2))
            return Node("root", (self._argument(), degree))
        return Node("/" if name == "frac" else "binom", (self._argument(), self._argument()))

    def _argument(self) -> Node:
        return self._group() if self.text == "{" else self._atom()

    def _figure(self, name: str) -> Node:
        letters = ""
        while self.kind == "letter" and len(letters) < (1 if name == "partial" else 4):
            letters += self._next()
        if not letters:
            raise UnreadableError(f"\\{name} of nothing")
        return Node("symbol", (), f"\\{name} {letters}")

    def _function(self, name: str) -> Node:
        r"""A function with its base or power and its argument: `\log_2 8`, `\sin^2 x`, `\cos 3x`, `\max(a, b)`."""
        base, power = None, None
        if self._take("_"):
            base = self._argument()
        if self._take("^"):
            power = self._exponent()
        if base is None and self._take("_"):
            base = self._argument()
        if power == Node("-", (Node("number", (), Fraction(1)),)) and name in _INVERSES:
            name, power = _INVERSES[name], None
        if self.text == "(":
            arguments = self._arguments()
        elif self.text in ("{", "[", "|"):
            arguments = (self._postfix(self._atom()),)
        else:
            arguments = (self._bare_argument(),)
        if base is not None:
            if name != "log" or len(arguments) != 1:
                raise UnreadableError(f"\\{name} with an index")
            arguments += (base,)
        node = Node({"lg": "log10"}.get(name, name), arguments)
        return Node("^", (node, power)) if power else node

    def _bare_argument(self) -> Node:
        """The argument of a function without brackets: a product up to the next sign or function."""
        minus = self._take("-")
        factors = [self._power()]
        while self._starts_factor() and self.text[1:] not in FUNCTIONS and self.text not in ("(", "[", "|"):
            factors.append(self._power())
            if self.kind == "number":
                raise UnreadableError("a number behind a function's argument")
        while self.text == "/" and self._peek()[0] in ("number", "letter"):
            self._next()
            over = factors[0] if len(factors) == 1 else Node("*", tuple(factors))
            factors = [Node("/", (over, self._power()))]
        node = factors[0] if len(factors) == 1 else Node("*", tuple(factors))
        return Node("-", (node,)) if minus else node

    def _binder(self, name: str) -> Node:
        r"""\sum_{k=1}^{n} of a product over a bound name, and \prod likewise."""
        upper = self._exponent() if self._take("^") else None
        if not self._take("_") or not self._take("{") or self.kind != "letter":
            raise UnreadableError(f"\\{name} without its bound name and bounds")
        bound = self._next()
        if not self._take("="):
            raise UnreadableError(f"\\{name} over {bound}, which does not begin anywhere")
        lower = self.sum()
        self._expect("}")
        if upper is None:
            self._expect("^")
            upper = self._exponent()
        self._bound.add(bound)
        body = self._product()
        self._bound.discard(bound)
        return Node("bind", (lower, upper, body), f"{name} {bound}")


def number_value(text: str) -> Fraction:
    """The exact value of digits with a decimal point and a repeating part, as the tokens have them."""
    plain, _, repeating = text.partition("\\overline")
    value = Fraction(plain if not plain.endswith(".") else plain[:-1])
    if digits := re.sub(r"\D", "", repeating):
        places = len(plain.partition(".")[2])
        if "." not in plain:
            raise UnreadableError("a bar over digits before a decimal point")
        value += Fraction(int(digits), 10**places * (10 ** len(digits) - 1))
    return value
