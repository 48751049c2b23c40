"""Language-consistency reward: the share of the target's words, in texts labelled by hand and in hostile ones."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import assert_linear

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.language_consistency import LANGUAGES, check_target, consistency, language_of

DATA = pathlib.Path(__file__).parents[2] / "shared/data"


def _rollout(thought: str, question: str = "") -> Rollout:
    prompt = Prompt(id="p", question=question, answer="1", source="maths:x")
    text = f"<think>{thought}</think><answer>1</answer>"
    return Rollout.of_text(prompt, text)


def share(thought: str, target: str, question: str = "") -> float | None:
    return consistency(_rollout(thought, question), target)


# Each of about 24 words by the rules of the reward, so that mixtures have known shares.
EN = (
    "First we add the two numbers that are given. Then we divide the sum by three and check whether the remainder "
    "is really zero."
)
ZH = "首先我们把已知的两个数相加，然后用这个和除以三，再检查余数是不是真的等于零。"
SAMPLES = {
    "en": EN,
    "zh": ZH,
    "fr": "D'abord nous additionnons les deux nombres donnés. Ensuite nous divisons la somme par trois et nous "
    "vérifions que le reste est bien nul.",
    "de": "Zuerst addieren wir die beiden gegebenen Zahlen. Danach teilen wir die Summe durch drei und prüfen, ob der "
    "Rest wirklich gleich null ist.",
    "es": "Primero sumamos los dos números que nos dan. Después dividimos la suma entre tres y comprobamos si el resto "
    "es realmente igual a cero.",
    "it": "Prima sommiamo i due numeri che ci sono dati. Poi dividiamo la somma per tre e controlliamo se il resto è "
    "davvero uguale a zero.",
    "pt": "Primeiro somamos os dois números que foram dados. Depois dividimos a soma por três e verificamos se o resto "
    "é mesmo igual a zero.",
    "nl": "Eerst tellen we de twee gegeven getallen bij elkaar op. Daarna delen we de som door drie en kijken we of de "
    "rest echt nul is.",
    "pl": "Najpierw dodajemy dwie podane liczby. Potem dzielimy sumę przez trzy i sprawdzamy, czy reszta naprawdę jest "
    "równa zero.",
    "ru": "Сначала мы складываем два данных числа. Потом мы делим сумму на три и проверяем, действительно ли остаток "
    "равен нулю.",
    "uk": "Спочатку ми додаємо два дані числа. Потім ми ділимо суму на три і перевіряємо, чи справді остача дорівнює "
    "нулю.",
    "bg": "Първо събираме двете дадени числа. След това делим сбора на три и проверяваме дали остатъкът наистина е "
    "равен на нула.",
    "ja": "まず与えられた二つの数を足します。それからその和を三で割って、余りが本当にゼロになるかどうかを確かめます。",
    "ko": "먼저 주어진 두 수를 더합니다. 그다음 그 합을 셋으로 나누고 나머지가 정말로 영이 되는지 확인합니다.",
    "ar": "أولا نجمع العددين المعطيين. ثم نقسم المجموع على ثلاثة ونتحقق مما إذا كان الباقي يساوي الصفر حقا.",
    "fa": "ابتدا دو عدد داده شده را با هم جمع می‌کنیم. سپس مجموع را بر سه تقسیم می‌کنیم و بررسی می‌کنیم که "
    "باقی‌مانده صفر است.",
    "hi": "पहले हम दी गई दोनों संख्याओं को जोड़ते हैं। फिर हम योग को तीन से भाग देते हैं और देखते हैं कि शेष शून्य है या नहीं।",
    "el": "Πρώτα προσθέτουμε τους δύο αριθμούς που δίνονται. Μετά διαιρούμε το άθροισμα με το τρία και "
    "ελέγχουμε το υπόλοιπο.",
    "he": "קודם נחבר את שני המספרים הנתונים. אחר כך נחלק את הסכום בשלוש ונבדוק אם השארית באמת שווה לאפס.",
    "th": "ก่อนอื่นเราบวกจำนวนสองจำนวนที่กำหนดให้ แล้วหารผลรวมด้วยสามและตรวจสอบว่าเศษเป็นศูนย์จริงหรือไม่",
    "tr": "Önce verilen iki sayıyı topluyoruz. Sonra toplamı üçe bölüyoruz ve kalanın gerçekten sıfır olup olmadığını "
    "kontrol ediyoruz.",
    "vi": "Trước hết chúng ta cộng hai số đã cho. Sau đó chúng ta chia tổng cho ba và kiểm tra xem số dư có thật sự "
    "bằng không.",
}


@pytest.mark.parametrize("language", SAMPLES)
def test_a_thought_in_one_language_is_that_language_s_alone(language: str) -> None:
    thought = SAMPLES[language]
    assert share(thought, language) == 1.0
    assert {target: got for target in SAMPLES if target != language and (got := share(thought, target))} == {}


@pytest.mark.parametrize("language", SAMPLES)
def test_the_target_may_be_the_question_s_language(language: str) -> None:
    assert language_of(SAMPLES[language]) == language
    assert share(SAMPLES[language], "", question=SAMPLES[language]) == 1.0
    assert share(SAMPLES["en" if language != "en" else "zh"], "", question=SAMPLES[language]) == 0.0


@pytest.mark.parametrize("other", ["zh", "fr", "de", "es", "ru", "ja"])
@pytest.mark.parametrize("parts_en, parts_other", [(3, 1), (1, 1), (1, 3)])
def test_a_mixture_scores_its_share(other: str, parts_en: int, parts_other: int) -> None:
    thought = " ".join([EN] * parts_en + [SAMPLES[other]] * parts_other)
    assert share(thought, "en") == pytest.approx(parts_en / (parts_en + parts_other), abs=0.07)


# Thought, target, question, the share by hand: target's words / all words, Han characters at 1.5 to a word.
# fmt: off
LABELLED = {
    "formulas beside english": (r"We know $x^2 + \sin\theta = 3$, so \(x = \frac{a}{b}\) must hold.", "en", "", 1.0),
    "formulas beside chinese": (r"我们知道 $x^2 + \sin\theta = 3$，所以 \(x = \frac{a}{b}\) 成立。", "zh", "", 1.0),
    "a displayed formula": (r"所以 \[ area = width \times height \] 成立。$$\max(a, b) = total$$", "zh", "", 1.0),
    "an environment": (r"所以 \begin{align*} total &= price \\ &= 3 \end{align*} 成立。", "zh", "", 1.0),
    "a word of text in a formula": (r"所以 $3 \text{ apples} = 6$ 成立。", "zh", "", 1.0),
    "bare variables": ("设 x 和 y 为两个数，则 2ab + 3xy = 5，x_1 = 4", "zh", "", 1.0),
    "greek letters": ("设 α 和 β 为两个角，Δx = 3", "zh", "", 1.0),
    "geometry": ("在三角形 ABC 中，AB = CD，由 SSS 得全等", "zh", "", 1.0),
    "units": ("长 5 cm，重 3kg，速度 60 km/h", "zh", "", 1.0),
    "functions": ("计算 sin x 和 log y 以及 max(a, b)", "zh", "", 1.0),
    "fenced code": ("程序：\n```python\nfor item in items:\n    total += item\n```\n然后运行。", "zh", "", 1.0),
    "inline code": ("变量 `total_count` 和 `items` 需要初始化。", "zh", "", 1.0),
    "a drawing": ("如图：[asy] draw(Circle(origin, radius)); label(somewhere); [/asy] 所以成立。", "zh", "", 1.0),
    "an address": ("参见 https://example.org/some/long/page 的说明。", "zh", "", 1.0),
    "names inside a chinese sentence": ("所以 Natalia 有 5 个，而 Betty 有 3 个苹果。", "zh", "", 1.0),
    "words of the question": ("首先 apples 一共有五个。", "zh", "How many apples are there?", 1.0),
    "a name of the question in english": ("So 小明 has five apples and gives three away.", "en", "小明有五个苹果", 1.0),
    "names in english": ("So Giuseppe gives Natalia and Wolfgang three apples each before Yuki comes.", "en", "", 1.0),
    "chemistry": ("溶液的 pH 值与 DNA 无关", "zh", "", 1.0),
    "currencies": ("She pays $18 for the book and $5 for the pen, hence $23 in all.", "en", "", 1.0),
    "full-width letters": ("Ｆｉｒｓｔ ｗｅ ａｄｄ ｔｈｅ ｔｗｏ ｎｕｍｂｅｒｓ", "en", "", 1.0),
    "an address that chinese follows": ("参见https://example.org首先 compute 它", "zh", "", 5 / 6.5),
    "one english word": ("首先 compute 这个和", "zh", "", (5 / 1.5) / (5 / 1.5 + 1)),
    "a word glued on": ("答案是answer", "zh", "", 2 / 3),
    "a leading english word": ("Wait，这里好像不对", "zh", "", 4 / 5),
    "three chinese characters": ("So the 最大值 of this function is what we want now", "en", "", 10 / 12),
    "chinese in an english sentence": ("We know 这两个数的和 is nine, and so we are done here now", "en", "", 11 / 15),
    "russian in an english sentence": ("We know сумма чисел is nine, and so we are done here now", "en", "", 11 / 13),
    "chinese in a formula": (r"We have $x = 三角形的面积$ and so we are done here now", "en", "", 9 / 13),
    "chinese in code": ("We run this code now:\n```\nprint('三角形的面积')\n```", "en", "", 5 / 9),
    "korean and english": ("먼저 두 수를 더하면 and then divide", "ko", "", 4 / 7),
    "arabic and english": ("نجمع العددين ثم and then divide", "ar", "", 3 / 6),
    "mixed case of names": ("Wir nehmen die Summe der Zahlen und den Rest der Division", "de", "", 1.0),
    "french with an english term": ("On utilise donc le machine learning pour résoudre ce problème", "fr", "", 1.0),
    "short and unknown": ("Ok. Hmm. So.", "en", "", 1.0),
    "only digits and signs": ("1 + 2 = 3 × 4 ÷ 5", "en", "", 0.0),
    "only a formula": (r"\[ x = \frac{1}{2} \]", "en", "", 0.0),
    "nothing": ("", "en", "", 0.0),
}
# fmt: on


@pytest.mark.parametrize("case", LABELLED)
def test_a_labelled_thought_scores_its_share(case: str) -> None:
    thought, target, question, expected = LABELLED[case]
    assert share(thought, target, question) == pytest.approx(expected, abs=0.005)


FR = SAMPLES["fr"].rstrip(".")
HIDEOUTS = {
    "a fence": f"```\n{FR}\n```",
    "backticks": f"`{FR}`",
    "a formula": f"${FR}$",
    "text in a formula": rf"$\text{{{FR}}}$",
    "text for each word": "$" + " ".join(rf"\text{{{word}}}" for word in FR.split()) + "$",
    "a formula for each word": " ".join(f"${word}$" for word in FR.split()),
    "underscores": "_".join(FR.split()),
    "short capitals": "JE SUIS LA ET TU ES LA OU NOUS LES ON A VUS HIER",
    "full-width letters": "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in FR),
    "mathematical letters": "".join(chr(ord(char) - 97 + 0x1D41A) if "a" <= char <= "z" else char for char in FR),
    "zero-width characters": "\u200b".join(FR),
    "soft hyphens": "\u00ad".join(FR),
    "title case": FR.title(),
    "no blanks": "".join(FR.split()),
    "upper case": FR.upper(),
}


@pytest.mark.parametrize("place", HIDEOUTS)
def test_prose_hidden_from_the_count_still_counts(place: str) -> None:
    thought = f"{EN}\n{HIDEOUTS[place]}\n{EN}"
    assert share(thought, "en") < 0.85


def test_words_with_homoglyphs_are_foreign_to_every_language() -> None:
    assert share(EN.replace("e", "е"), "en") < 0.5  # a Cyrillic e
    assert share(EN.replace("e", "е"), "ru") == 0.0


def test_romanised_chinese_is_not_chinese() -> None:
    assert share("shouxian women ba liangge shu jia qilai ranhou zai chu yi san dedao zuihou de daan", "zh") == 0.0


def test_a_missing_thought_gains_nothing() -> None:
    prompt = Prompt(id="p", question=EN, answer="1", source="maths:x")
    for text in ("", "42", EN, f"<think></think>{EN}", f"<answer>{EN}</answer>"):
        rollout = Rollout.of_text(prompt, text)
        assert consistency(rollout, "en") == 0.0


def test_the_answer_s_language_does_not_count() -> None:
    prompt = Prompt(id="p", question=EN, answer="1", source="maths:x")
    text = f"<think>{EN}</think><answer>{ZH}</answer>"
    assert consistency(Rollout.of_text(prompt, text), "en") == 1.0


@pytest.mark.parametrize("question", ["", "$1 + 2$", "3 + 4 = ?"])
def test_a_question_without_words_leaves_its_language_unknown(question: str) -> None:
    assert language_of(question) == ""
    assert share(EN, "", question) is None
    assert share(EN, "en", question) == 1.0


def test_a_question_too_short_to_identify_is_in_its_scripts_first_language() -> None:
    assert [language_of(text) for text in ("Solve this", "Реши это", "求解")] == ["en", "ru", "zh"]


def test_an_unknown_target_is_an_error_that_names_the_nearest() -> None:
    check_target("")
    check_target("en")
    with pytest.raises(ValueError, match=r"'zn'.*zh"):
        check_target("zn")
    with pytest.raises(ValueError, match="'english'"):
        share(EN, "english")


def test_the_identifier_knows_every_target() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    known = set(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).nb_classes)
    assert {language for languages in LANGUAGES.values() for language in languages} - known == set()


# fmt: off
LOOPS = (
    "$", "`", "```", r"\(", r"\begin{a} ", "$x ", "a", "a'", "a_", "aа", "é\u0301", "。", "\\", "https://x", f"{EN} ",
    ZH, "xу ", "$ab$ ", pytest.param("\ufdfa", marks=pytest.mark.slow),  # the last stands for 18 letters
)
# fmt: on


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hostile_megabyte_takes_bounded_time(loop: str) -> None:
    def read(text: str) -> None:
        rollout = _rollout(text)
        assert rollout.response.thought
        assert 0.0 <= consistency(rollout, "en") <= 1.0

    assert_linear(read, loop)


def test_a_long_thought_is_read_from_end_to_end() -> None:
    half = 1_000_000 // len(EN)
    assert share(f"{EN} " * half + ZH * (half * len(EN) // len(ZH)), "en") == pytest.approx(0.2, abs=0.1)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=300), st.sampled_from(["", "en", "zh", "ja", "ru", "ko"]), st.text(max_size=60))
def test_any_text_scores_between_0_and_1_or_none_where_the_question_has_no_words(
    thought: str, target: str, question: str
) -> None:
    got = share(thought, target, question)
    assert (got is None) == (not target and not language_of(question))
    assert got is None or 0.0 <= got <= 1.0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([*SAMPLES]), min_size=1, max_size=5))
def test_digits_and_formulas_between_sentences_change_nothing(languages: list[str]) -> None:
    sentences = [SAMPLES[language] for language in languages]
    assert share("\n".join(sentences), "en") == share("\n 12 = 3 \n $x^2$ \n".join(sentences), "en")


def _rows(name: str) -> list[dict]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_worked_solutions_are_english_and_chinese_questions_chinese() -> None:
    english = [row["solution"].partition("####")[0] for row in _rows("gsm8k/test.jsonl")][:200]
    chinese = [row["prompt"] for row in _rows("cmath/test.jsonl")[:200] + _rows("mgsm_zh/test.jsonl")]
    assert np.mean([share(text, "en") for text in english]) > 0.99
    assert np.mean([share(text, "zh") for text in chinese]) > 0.99
    assert np.mean([share(text, "zh") for text in english]) < 0.01
    assert np.mean([share(text, "en") for text in chinese]) < 0.01


@pytest.mark.parametrize("percent", [25, 50, 75])
def test_mixtures_of_the_same_questions_in_both_languages_score_their_share(percent: int) -> None:
    chinese = [row["prompt"] for row in _rows("mgsm_zh/test.jsonl")]
    english = [row["prompt"] for row in _rows("gsm8k/test.jsonl")][: len(chinese)]
    drawn = np.random.default_rng(percent).random(len(chinese)) * 100 < percent
    thought = "\n".join(e if here else c for e, c, here in zip(english, chinese, drawn, strict=True))
    assert share(thought, "en") == pytest.approx(np.mean(drawn), abs=0.05)


def test_an_answer_that_needs_no_thought_has_no_foreign_one():
    prompt = Prompt("p", "Translate 'red' to Chinese.", "红", "exact", metadata={"thought": "optional"})
    assert consistency(Rollout.of_text(prompt, "红"), "") == 1.0
    asked = Prompt("p", "How many apples are left?", "3", "maths")
    assert consistency(Rollout.of_text(asked, "3"), "") == 0.0
