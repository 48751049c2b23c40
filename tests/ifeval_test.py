"""IFEval grader: each instruction followed and not, with the edge cases of its authors' checker."""

import pytest
from steps import assert_linear

from r1jax.benchmarks.benchmark import Outcome
from r1jax.benchmarks.sets.ifeval import figures
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import ifeval
from r1jax.graders.config import GraderConfig
from r1jax.graders.ifeval_instructions import CHECKS, count_sentences

CASES = {
    "keywords:existence": ({"keywords": ["Sun", "moon"]}, ["the sun and the Moons"], ["the sun"]),
    "keywords:frequency": (
        {"keyword": "duck", "frequency": 2, "relation": "at least"},
        ["Duck, duckling"],
        ["one duck"],
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["rain", "snow day"]},
        ["it is raining", ""],
        ["the Rain", "a SNOW DAY"],
    ),
    "keywords:letter_frequency": (
        {"letter": "q", "let_frequency": 2, "let_relation": "less than"},
        ["Queen"],
        ["Quick queen"],
    ),
    "language:response_language": (
        {"language": "de"},
        ["Ich gehe heute mit meinem Hund in den Park und danach nach Hause."],
        ["I am walking to the park with my dog today and then back home."],
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "at least"},
        ["One. Two! Three?", "Dr. No came. He saw. He left."],
        ["One. Two.", "Mr. A. B. Smith lives at St. James St."],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        ["one\n\n***\n\ntwo", "one***two", "***one *** two***"],
        ["one", "a***  ***b", "a***b***c"],
    ),
    "length_constraints:number_words": (
        {"num_words": 3, "relation": "less than"},
        ["two words", "!!!"],
        ["it's a", "one two three"],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Hello"},
        ["x\n\nhello, you", "x\n\n'Hello' there"],
        ["hello", "x\n\ny\n\nhello", "x\n\nHelloo", "x\ny\n\nhi"],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        ["[name] lives in [place]"],
        ["[name]", "[name lives\nin]"],
    ),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, ["Bye.\nP.S. Write", "p. s. x"], ["Bye", "PS: x"]),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        ["* a\n* b", "- a\n - b", "text\n*a\n-b"],
        ["* a", "* a\n* b\n* c", "**a**\n**b**"],
    ),
    "detectable_format:constrained_response": (
        {},
        ["My answer is yes.", "Well, My answer is maybe."],
        ["yes", "My answer is"],
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        ["*one* and *two*", "**one** *two*"],
        ["*one*", "**", "* *  *one*"],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb"],
        ["SECTION 1", "Section 1 Section 2"],
    ),
    "detectable_format:json_format": ({}, ['{"a": 1}', "```json\n[1]\n```", '```\n"x"\n```'], ["a", "{'a': 1}", ""]),
    "detectable_format:title": ({}, ["<<Joy>>\ntext", "so <<a b>>"], ["<Joy>", "<< >>", "<<a\nb>>"]),
    "combination:two_responses": (
        {},
        ["a******b", "******a******b"],
        ["a", "a******a", "a************b", "a******b******c"],
    ),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say it."}, ["say it. Yes.", "  Say it."], ["Yes. Say it."]),
    "startend:end_checker": ({"end_phrase": "The end."}, ['so: "the END."', "The end. "], ["The end. Or not"]),
    "startend:quotation": ({}, ['"all of it"', ' "x" '], ['"', 'a "b"', "“x”"]),
    "change_case:english_capital": ({}, ["THIS IS AN ENGLISH SENTENCE, AND A LONG ONE."], ["This is", "123"]),
    "change_case:english_lowercase": ({}, ["this is an english sentence, and a long one."], ["This is", "123"]),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["GO THERE now"],
        ["GO there", "Go There"],
    ),
    "punctuation:no_comma": ({}, ["no comma; here、"], ["a, b"]),
}


@pytest.mark.parametrize("instruction", sorted(CHECKS))
def test_each_instruction_is_followed_by_some_texts_and_not_by_others(instruction):
    kwargs, followed, broken = CASES[instruction]
    needs, check = CHECKS[instruction]
    assert set(needs) == set(kwargs)
    for text in followed:
        assert check(text, kwargs), text
    for text in broken:
        assert not check(text, kwargs), text


def grade(text: str, *pairs):
    row = {"instruction_id_list": [instruction for instruction, _ in pairs], "kwargs": [kwargs for _, kwargs in pairs]}
    ifeval.check(row)
    prompt = Prompt("q", "Write.", "", "ifeval:test", metadata=row)
    return ifeval.grade(Rollout.of_text(prompt, text), GraderConfig())


NO_COMMA = ("punctuation:no_comma", {})
JSON = ("detectable_format:json_format", None)


def test_a_prompt_is_followed_when_all_its_instructions_are():
    assert grade("[1]", NO_COMMA, JSON)[:2] == (1.0, "right")
    found = grade("[1, 2]", NO_COMMA, JSON)
    assert found.score == 0.0 and found.detail == {"followed": [False, True], "loose": [False, True]}
    assert grade("", NO_COMMA).verdict == "no_answer"


def test_loosely_the_first_and_last_lines_and_asterisks_may_be_left_out():
    found = grade("Sure, here it is:\n[1]\nI hope, it helps.", NO_COMMA, JSON)
    assert found.detail == {"followed": [False, False], "loose": [True, True]} and found.score == 0.0
    assert grade("**[1]**", JSON).detail == {"followed": [False], "loose": [True]}


def test_the_summary_is_graded_and_never_the_thought():
    assert grade("<think>one, two</think>three", NO_COMMA).score == 1.0


@pytest.mark.parametrize(
    "row, message",
    [
        ({"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}, "nearest: punctuation:no_comma"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": None}]}, "lacks keywords"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "two lists of one length"),
        ({"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "jp"}]}, "no language 'jp'"),
        ({}, "IFEval needs"),
    ],
)
def test_rows_that_cannot_be_checked_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        ifeval.check(row)


def test_figures_by_hand():
    def outcome(instruction, sample, followed, loose):
        return Outcome(instruction, sample, float(all(followed)), "", "", {"followed": followed, "loose": loose})

    outcomes = [
        outcome("a", 0, [True, False], [True, True]),
        outcome("a", 1, [True, True], [True, True]),
        outcome("b", 0, [False], [False]),
    ]
    found = figures({}, outcomes)
    assert found["prompt_strict"].value == 0.25 and found["prompt_loose"].value == 0.5
    assert found["instruction_strict"].value == 3 / 5 and found["instruction_loose"].value == 4 / 5
    # Graded without being read to the end: it follows none, and is not left out.
    found = figures({"c": {"instruction_id_list": ["x", "y"]}}, [*outcomes, Outcome("c", 0, 0.0, "timeout")])
    assert found["prompt_strict"].value == pytest.approx(0.5 / 3)
    assert found["instruction_loose"].value == 4 / 7


SHORT = {
    "en": ["Hello world", "HELLO WORLD", "Yes.", "Good morning!", "Thanks a lot", "I love you", "OK"],
    "fr": ["Bonjour le monde", "Merci beaucoup", "Je t'aime", "Bonne nuit", "OK"],
    "de": ["Guten Morgen", "Vielen Dank", "Hallo Welt", "Heute regnet es.", "OK"],
    "es": ["Hola mundo", "Muchas gracias", "Buenos días"],
    "it": ["Ciao mondo", "Grazie mille", "Oggi piove."],
    "pt": ["Olá mundo", "Muito obrigado", "Bom dia"],
    "ru": ["Привет мир", "Спасибо большое", "Я тебя люблю"],
    "zh": ["你好世界", "谢谢你", "早上好"],
    "ja": ["こんにちは世界", "ありがとう"],
    "hi": ["नमस्ते दुनिया", "धन्यवाद"],
    "pa": ["ਸਤ ਸ੍ਰੀ ਅਕਾਲ"],
}


@pytest.mark.parametrize("language", SHORT)
def test_a_short_text_that_may_be_in_the_required_language_follows(language):
    for text in SHORT[language]:
        assert grade(text, ("language:response_language", {"language": language})).score == 1.0, text


@pytest.mark.parametrize(
    "language, texts",
    [
        ("en", ["Bonjour le monde", "你好世界", "Guten Morgen", "Muchas gracias", "Привет мир", "Vielen Dank", "नमस्ते"]),
        ("de", ["Bonjour le monde", "I love you", "Thanks a lot", "Muito obrigado", "你好"]),
        ("fr", ["It is raining today.", "Ich liebe dich", "Te quiero mucho"]),
        ("zh", ["Hello world", "OK", "No", "Привет", "こんにちは世界"]),
        ("hi", ["OK", "Hello world", "你好"]),
        ("ru", ["Hello", "OK"]),
        ("pa", ["OK", "नमस्ते दुनिया"]),
        ("ko", ["谢谢你"]),
    ],
)
def test_a_short_text_that_is_plainly_in_another_language_does_not_follow(language, texts):
    for text in texts:
        assert grade(text, ("language:response_language", {"language": language})).score == 0.0, text


def test_a_text_without_letters_is_in_any_language_and_codes_may_name_a_region():
    assert grade("42!", ("language:response_language", {"language": "hi"})).score == 1.0
    assert grade("你好世界", ("language:response_language", {"language": "zh-cn"})).score == 1.0


def test_short_texts_in_english_capitals_and_small_letters():
    assert grade("HELLO WORLD", ("change_case:english_capital", {})).score == 1.0
    assert grade("hello world", ("change_case:english_lowercase", {})).score == 1.0
    assert grade("BONJOUR LE MONDE", ("change_case:english_capital", {})).score == 0.0
    assert grade("привет мир", ("change_case:english_lowercase", {})).score == 0.0


def test_similar_languages_are_distinguished_in_a_paragraph():
    spanish = "Ayer por la tarde fuimos al mercado y compramos pan, queso y fruta para toda la semana."
    for language, score in (("es", 1.0), ("pt", 0.0), ("ca", 0.0)):
        assert grade(spanish, ("language:response_language", {"language": language})).score == score


def test_sentences():
    assert count_sentences("Hello there. How are you? Fine!") == 3
    assert count_sentences("e.g. this, i.e. that. No more") == 2
    assert count_sentences("你好。你呢？") == 2 and count_sentences("") == 0 and count_sentences("...") == 0


@pytest.mark.parametrize("piece", ["*", "[", "<<", ". A", "-\n", " ", "***", "a ", '"', "section "])
def test_hostile_text_costs_little(piece):
    for instruction, (kwargs, _, _) in CASES.items():
        if instruction not in (
            "language:response_language",
            "change_case:english_capital",
            "change_case:english_lowercase",
        ):
            follows = CHECKS[instruction][1]
            assert_linear(lambda text, f=follows, k=kwargs: f(text, k), piece, large=400_000)  # longer texts are cut
