r"""Words beside mathematics: which letters are words, which words are units, and which change what a number says.

A word that is in none of the lists is left out beside a number only where it can be nothing but the name of what is
counted; one that changes or bounds the number never is.
"""

import itertools
import re

# Words that change a number's value, bound it, deny it or set another one beside it, and names of functions.
CHANGING = frozenset(
    re.findall(
        r"\S+",
        """
    hundred hundreds thousand thousands million millions billion billions trillion trillions dozen dozens score k half
    halves third thirds fourth fourths fifth fifths sixth tenth tenths hundredth hundredths thousandths and or nor to
    plus minus times over mod modulo not no factorial base percent percents pct squared cubed versus vs either neither
    between through other otherwise a.m p.m am pm sqrt sin cos tan cot sec csc log exp gcd lcm max det lim sum
    less more fewer greater larger smaller bigger higher lower shorter longer older younger than least most almost
    nearly above below under beyond beneath within excluding excluded exclude excludes except without unless but twice
    thrice double doubled doubling triple tripled quadruple quarter quarters negative reciprocal opposite inverse
    square cube root cube-root divided multiplied times-as product difference quotient remainder multiple multiples
    divisor factor factors divisible power powers conjugate complement wrong incorrect false impossible isn aren wasn
    cannot can't isn't aren't wasn't don't doesn't never none nothing maybe perhaps possibly probably alternatively
    could might may approximately approx about around roughly circa up increased decreased reduced added subtracted
    short instead rather is are was were if when
    """,
    )
)
# Those that may stand behind a number all the same, as the unit they also name: 5 sec, 5 pm (picometres), 5 times.
_ALSO_UNITS = frozenset(
    ["sec", "pm", "times", "multiples", "factors", "divisors", "products", "powers", "roots", "min"]
)
# The symbols of units, as they are written: letter case matters.
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
# Short words of whole sentences; longer ones are told by their vowels.
_SHORT = frozenset(
    re.findall(
        r"\S+",
        """
    is it so we or an at of to by in as if be he no on my me us up do go am the and for are but not all any can has had
    was one two six ten our out who why how its let may get got sum her his she you yes cm km kg mm ft hr hrs lb lbs oz
    mph kph why try dry sky fly cry kmh sq cu rs mol yrs pts qts th st nd rd
    """,
    )
)
_POWER = re.compile(r"\s*\^\s*-?[1-4]")
_CHINESE_CHANGING = re.compile("[万亿千百十半倍多余或和到至负非不分折点以左右约近大小超零一二两三四五六七八九]")
_GLUED = re.compile(r"[0-9\\^_{})\]'$]")
_LEADING = frozenset(
    re.findall(
        r"\S+",
        """
    the a an final answer answers result results solution solutions value values is are equals equal to so thus
    therefore hence then we get have find obtain it that this there total number of only exactly just simply my our
    must be which gives as has x y or
    """,
    )
)
_ENDS_LEAD = re.compile(
    r"(?:\b(?:is|are|was|be|equals|equal to|gives|get|have|find|obtain|of)|[:=])\s*$", re.IGNORECASE
)


def is_word(text: str, start: int, end: int) -> bool:
    """Whether the letters from start to end are a word, and no product of letters such as abc, kxy or MR."""
    token = text[start:end]
    before, after = text[start - 1 : start], text[end : end + 1]
    if len(token) == 1 or before == "\\":
        return False
    if len(token) < 4 and ((before and _GLUED.match(before)) or (after and re.match(r"[\^_{(+=<>*0-9]", after))):
        return False
    if len(token) == 2:
        return token.lower() in _SHORT or token in UNITS
    if token.lower() in _SHORT or token in UNITS:
        return True
    return not _is_product(token)


def is_short_word(token: str) -> bool:
    """Whether letters that stand between blanks in a formula are a word, although a product may be as short."""
    return token.lower() in _SHORT or (len(token) > 3 and not _is_product(token))


def _is_product(token: str) -> bool:
    """Whether letters can be nothing but a product: capitals, letters in the alphabet's order, no vowel among them."""
    if len(token) <= 4 and token.isupper():
        return True
    in_order = all(ord(b) - ord(a) == 1 for a, b in itertools.pairwise(token))
    return in_order or not re.search("[aeiou]", token, re.IGNORECASE)


def is_harmless(words: str) -> bool:
    """Whether words beside a formula can be left out: they hold no digits, change nothing and name nothing else."""
    return not re.search(r"\d", words) and not changes(words)


def changes(words: str) -> bool:
    """Whether one of the words changes, bounds or denies the number beside it."""
    return any(word.strip(".,:;'\"()") in CHANGING or word.endswith("n't") for word in words.lower().split())


def is_lead(words: str) -> bool:
    """Whether words before a formula only lead up to it: "the answer is", "The maximum is", "so we get"."""
    plain = re.findall(r"[A-Za-z'-]+|[\u4e00-\u9fff]+", words.lower())
    if all(word in _LEADING for word in plain):
        return not re.search(r"\d", words)
    kept = " ".join(word for word in plain if word not in ("is", "are", "was", "or"))
    return bool(_ENDS_LEAD.search(words)) and is_harmless(kept) and not re.search(r"\d", words)


def is_unit(words: str) -> bool:
    """Whether words behind a number name what it counts or measures, and do not change it."""
    each_word = [word.strip(".,;:()") for word in _POWER.sub("", words).replace("/", " ").split()]
    plain = [word if word in UNITS else word.lower() for word in each_word]
    for place, word in enumerate(plain):
        of_a_unit = word in ("squared", "cubed") if place else word in ("square", "cubic") and len(plain) > 1
        if word in CHANGING and word not in _ALSO_UNITS and not of_a_unit:
            return False
    return not (re.search(r"\d", _POWER.sub("", words)) or _CHINESE_CHANGING.search(words))


def unit_name(words: str) -> str:
    """The one name of a unit of measure that has several spellings; "" for what is none, as the name of a thing."""
    plain = re.sub(r"[\s.]+", " ", words).strip()
    return _ALIASES.get(plain, _ALIASES.get(plain.lower(), ""))


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
    mph miles_per_hour mi/h
    km/h kph kmh kilometers_per_hour
    """.strip().splitlines()
    for alias in names.split()
}
