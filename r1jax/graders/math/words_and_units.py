r"""Words and units beside mathematics: words versus products of letters, units, and words that change a number.

A word that is in none of the lists is left out beside a number only where it can only be the name of counted things; a
word that changes or bounds the number never is.
"""

import itertools
import re

_NUMBER_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million
    millions billion billions trillion trillions quadrillion quintillion lakh lakhs crore crores myriad googol dozen
    dozens score k half halves third thirds fourth fourths fifth fifths sixth sixths seventh eighth ninth tenth tenths
    hundredth hundredths thousandth thousandths quarter quarters
    """
# Words that change a number's value, bound it, deny it or name another number, and names of functions.
CHANGING = frozenset(
    re.findall(
        r"\S+",
        _NUMBER_WORDS
        + """
    and or nor to plus minus times over mod modulo not no factorial base percent percents pct squared cubed versus vs
    either neither between through other otherwise a.m p.m am pm sqrt sin cos tan cot sec csc log exp gcd lcm max det
    lim sum sine cosine tangent logarithm digit digits less more fewer greater larger smaller bigger higher lower
    shorter longer older younger than least most almost nearly above below under beyond beneath within excluding
    excluded exclude excludes except without unless but twice thrice double doubled doubling triple tripled quadruple
    quadrupled halved negative negated reciprocal opposite inverse inverted square cube root cube-root divided
    multiplied product difference quotient remainder multiple multiples divisor divisors factor factors divisible power
    powers conjugate complement wrong incorrect false impossible isn aren wasn cannot can't isn't aren't wasn't don't
    doesn't never none nothing maybe perhaps possibly probably alternatively could might may approximately approx about
    around roughly circa close unequal differs differ bound bounds increased decreased reduced added subtracted short
    instead rather is are was were if when at by onwards upwards downwards upward onward up down minimum maximum too
    basis point mille permille recurring repeating hex hexadecimal binary octal sign signs changed with equals
    equal because north south east west
    """,
    )
)
# Those that are also units, and may follow a number: 5 sec, 5 pm (picometres), 5 times.
_CHANGING_WORDS_OR_UNITS = frozenset(
    [
        "sec",
        "pm",
        "times",
        "multiples",
        "factors",
        "divisors",
        "digits",
        "seconds",
        "products",
        "powers",
        "roots",
        "min",
    ]
)
# Symbols of units; letter case matters.
UNITS = frozenset(
    re.findall(
        r"\S+",
        """
    m g s h l L W J N V A K C F T B u b in ft cm mm km dm nm pm um kg mg gm ml mL dl cl lb lbs oz hr hrs yd yds mi Hz
    kHz MHz GHz kW MW kJ MJ Pa kPa hPa eV keV MeV kV mV mA kN cal kcal mol rad sq cu cc rs st nd rd th mph kph kmh min
    mins sec secs ms ns us pt qt gal bits bit dB ha atm bar deg USD EUR RMB CNY AUD GBP cent cents ohm sr
    """,
    )
)
# Those that in a formula may be products of variables instead: m g.
AMBIGUOUS = frozenset(["mg", "nm", "us", "ms", "ns", "pm", "mi", "ha", "pt", "qt", "cl", "cc", "rs"])
# Short words of sentences; longer ones are recognised by their vowels.
_SHORT_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    is so or of to if in the and for are but not all any can has had
    was one two six ten our out who why how its let may get got sum her his she you yes why try dry sky fly cry
    """,
    )
)
_COMMANDS = re.compile(r"\\(?:cdot|times|circ|mu|Omega)(?![A-Za-z])|[\^{}]")
_UNIT_TEXT = re.compile(r"[^\W\d_]*(?:[\s.,;:'()/^°$＄€£¥¢%~·-]+[^\W\d_]*)*")
_POWER = re.compile(r"\s*\^\s*-?[1-4]")
_CHINESE_CHANGING = re.compile("[万亿千百十半倍多余或和到至负非不分折点以左右约近大小超零一二两三四五六七八九]")
_ADJACENT_TO_WORD = re.compile(r"[0-9\\^_{})\]'$]")
_LEAD_IN_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    the a an final answer answers result results solution solutions value values is are equals equal to so thus
    therefore hence then we get have find obtain it that this there total only exactly just simply my our
    must be which gives as has x y or point points interval pair pairs vector matrix
    """,
    )
)
_MEASURED_QUANTITIES = frozenset(
    re.findall(
        r"\w+",
        "total value answer result area volume perimeter length distance speed price cost profit probability average "
        "mean maximum minimum height width radius age weight time rate length circumference diameter",
    )
)
_SUBJECT_WORDS = frozenset(
    re.findall(
        r"\w+",
        "is are was were or equal equals to at with maximum minimum sum product difference quotient remainder square "
        "cube root factor factors multiple divisor divisors power base digit digits sign point complement",
    )
)
_LEAD_IN_END = re.compile(
    r"(?:\b(?:is|are|was|be|equals|equal to|gives?|get|have|find|obtain)|[:=])\s*$", re.IGNORECASE
)


def is_word(text: str, start: int, end: int) -> bool:
    """Whether the letters from start to end are a word, not a product of variables such as abc, kxy or MR."""
    token = text[start:end]
    before, after = text[start - 1 : start], text[end : end + 1]
    if len(token) == 1 or before == "\\":
        return False
    if len(token) < 4 and (
        (before and _ADJACENT_TO_WORD.match(before)) or (after and re.match(r"[\^_{(+=<>*0-9]", after))
    ):
        return False
    return token.lower() in _SHORT_WORDS or (len(token) > 2 and not _is_product(token))


def is_number_word(word: str) -> bool:
    """Whether a word names a number."""
    return word.lower().strip(".,;:()") in _NUMBER_WORDS.split()


def is_short_word(token: str) -> bool:
    """Whether letters between blanks in a formula are a word; short products of variables are not."""
    return token.lower() in _SHORT_WORDS or (len(token) > 3 and not _is_product(token))


def _is_product(token: str) -> bool:
    """Whether letters can only be a product: few capitals, letters in alphabetical order, or no vowel."""
    if len(token) <= 4 and token.isupper():
        return True
    in_order = all(ord(b) - ord(a) == 1 for a, b in itertools.pairwise(token))
    return in_order or not re.search("[aeiou]", token, re.IGNORECASE)


def changes_number(words: str) -> bool:
    """Whether one of the words changes, bounds or denies the number beside it."""
    plain = [word.strip(".,:;'\"()") for word in words.lower().split()]
    return any(word in CHANGING or word.endswith(("n't", "fold")) for word in plain)


def is_lead_in(words: str) -> bool:
    """Whether words before a formula only introduce it: "the answer is", "The maximum is", "so we get"."""
    plain = re.findall(r"[A-Za-z'-]+|[\u4e00-\u9fff]+", words.lower())
    if re.search(r"\d", words) or not plain:
        return False
    if plain[-1] == "of":
        return plain[-2:-1] != [] and plain[-2] in _MEASURED_QUANTITIES and is_lead_in(" ".join([*plain[:-2], "is"]))
    if _LEAD_IN_WORDS.issuperset(plain):
        return True
    # The subject of "is" may have any name and be several things: the two roots are, the product is.
    return bool(_LEAD_IN_END.search(words)) and not any(
        changes_number(word) and word not in _SUBJECT_WORDS and not is_number_word(word) for word in plain
    )


def is_unit_phrase(words: str) -> bool:
    """Whether words after a number name what it counts or measures, and do not change it."""
    stripped_words = [word.strip(".,;:()") for word in _POWER.sub("", words).replace("/", " ").split()]
    words_in_order = [word if word in UNITS else word.lower() for word in stripped_words]
    for place, word in enumerate(words_in_order):
        is_part_of_unit = (
            word in ("squared", "cubed") if place else word in ("square", "cubic") and len(words_in_order) > 1
        )
        is_changing = word in CHANGING or word.endswith("fold")
        if is_changing and not is_part_of_unit and (place or word not in _CHANGING_WORDS_OR_UNITS):
            return False
        if word == "out" or (
            word == "of" and words_in_order[place + 1 : place + 2] and words_in_order[place + 1] in CHANGING
        ):
            return False
    text = _COMMANDS.sub(" ", _POWER.sub("", words))
    return bool(_UNIT_TEXT.fullmatch(text)) and not _CHINESE_CHANGING.search(words)


def unit_name(words: str) -> str:
    """The units of measure that words name, in one spelling: m^1 s^-1 for `m s^-1` and `meters/second`; "" for none."""
    powers: dict[str, int] = {}
    sign, dimension = 1, 1
    text = re.sub(r"\\(?:text|cdot|,|;| )|[{}~·]", " ", words)
    for word in re.findall(r"/|\bper\b|[^\s/^]+(?:\s*\^\s*-?\d)?", text.replace("**", "^")):
        if word in ("/", "per"):
            sign = -1
            continue
        name, _, power = word.replace(" ", "").strip(".,;").partition("^")
        if name.lower() in ("square", "sq", "cubic", "cu"):
            dimension = 2 if name.lower() in ("square", "sq") else 3
            continue
        if name.lower() in ("squared", "cubed") and powers:
            powers[list(powers)[-1]] *= 2 if name.lower() == "squared" else 3
            continue
        units = _ALIASES.get(name) or _ALIASES.get(name.lower()) or (name if name in UNITS else "")
        if not units:
            return ""
        for part in units.split("/"):
            side_sign = 1 if part == units.split("/")[0] else -1  # mile/hour
            powers[part] = powers.get(part, 0) + side_sign * sign * dimension * int(power or 1)
        dimension = 1
    return " ".join(f"{name}^{power}" for name, power in sorted(powers.items()) if power)


_ALIASES = {
    alias.replace("_", " "): names.split()[0]
    for names in """
    degree degrees deg ° ^\\circ
    radian radians rad
    m meter meters metre metres
    cm centimeter centimeters centimetre centimetres
    mm millimeter millimeters
    km kilometer kilometers kilometre kilometres
    inch inches in
    foot feet ft
    yard yards yd yds
    mile miles mi
    sterling £ GBP
    liter liters litre litres L l
    second seconds s sec secs
    minute minutes min mins
    hour hours hr hrs h
    day days
    week weeks
    month months
    year years yr yrs
    g gram grams gm
    kg kilogram kilograms
    lb pound pounds lbs
    oz ounce ounces
    dollar dollars $ ＄ USD usd
    cent cents ¢
    euro euros € EUR
    yen ¥ JPY
    yuan 元 RMB CNY 块
    rupee rupees ₹
    mile/hour mph
    km/hour kph kmh
    """.strip().splitlines()
    for alias in names.split()
}
