"""Texts and ids on which tokenizers are known to differ: what a hand can think of, and random mixtures of it."""

import random

# fmt: off
BY_HAND = (
    # Nothing, and white space of all kinds.
    "", " ", "  ", "   \t", "\n", "\n\n", "\n\n\n a", "\r", "\r\n\r\n", "\t\tx", " \n \n ", "a ", " a",
    "a  b   c    d",
    "\u00a0nbsp\u00a0", "\u2003em\u2003\u2009", "\u3000全角\u3000", "\u2028line\u2029para", "\u200b\u200bzero",
    "\x0b\x0c\x1c",
    "trailing   \n", "   leading", "a\n b\n  c\n   d", "x \n", "x\n ", "\u1680ogham", "\x85next",
    # Digits: long runs, other numerals, next to spaces and signs.
    "1", "12", "123", "1234", "12345", "1234567890" * 12, "0" * 77, "3.14159265358979", "1,000,000.00", "1e-10", "-7",
    "a1b22c333d4444", "  5", "a  5", "\n 42", "x=  007", " 1 22 333 4444", "1  2   3", "१२३४५", "٣٤٥ ٦",
    "²³¹ ½ ⅓ ¼x", " ½", "x²",
    "Ⅷ ⅷ ㊿ ①②③", "一二三四五", "12:34:56", "2024-01-31T00:00:00Z", "0x1F 0b101 1_000", "１２３４", "𝟘𝟙𝟚 𝟯",
    # Emoji: joined, toned, flags, variation selectors.
    "😀", "😀😀😀", "👩‍👩‍👧‍👦 family", "👍🏽 👍🏿", "🇩🇪🇫🇷🇯🇵", "❤️ ❤ ☺️", "🏳️‍🌈", "a😀b", " 😀 ", "\u200d",
    "🧑🏻‍🚀.", "1️⃣ #️⃣", "🫠🪿",
    # Scripts, alone and mixed.
    "答案是：42。", "我们先计算，然后验证。", "中文English混合текст", "日本語のテキストです。カタカナ ひらがな",
    "한국어 문장입니다.", "مرحبا بالعالم ١٢",
    "שלום עולם", "Привет, мир!", "Γειά σου Κόσμε", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Tiếng Việt có dấu", "ქართული",
    "አማርኛ",
    "\u202eright to left\u202c", "𐍈𐌰𐌹", "𠮷野家", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ﬁ Ａ ½ Å", "Ελλάδα-Россия-中国", "\ufeffBOM",
    "naïve café", "ßẞſ", "İıI",
    # Combining marks, composed and not; what normalisation would touch.
    "é e\u0301", "e\u0301\u0302\u0303", "n\u0303", "Z\u0351\u036b\u0343a\u0312l\u0313g\u030ao", "\u0301alone",
    "한\u1112\u1161\u11ab", "\u212b \u00c5", "\u2126",
    "क्षि", "ก็", "\u0344",
    # Control characters, and the replacement character itself.
    "\x00", "\x00\x01\x7f", "a\x00b", "\x1b[31mred\x1b[0m", "\ufffd", "\ufffd\ufffd a", "\ufffe\uffff",
    "\U0010ffff", "\ue000",
    # Code, mathematics, mark-up.
    "def f(x):\n\treturn x+1\n", "for(int i=0;i<n;++i){\n    a[i] = b[i];\n}\n", "\tif x:\n\t\ty\n\n\n\n",
    "a = b  # comment   ",
    r"\boxed{\frac{1}{2}}", "$$\\int_0^\\infty e^{-x^2}\\,dx$$", "<p class=\"x\">&amp;</p>",
    "{'a': [1, 2], \"b\": null}", "https://a.b/c?d=e&f=%20#g",
    "'''\"\"\"```", "!!!???...;;;", "----====____", "->=>!=<=>=::", "foo_bar__baz FooBarBaz fooBAR",
    "C:\\path\\to\\file", "$100 €50 £3 ¥9",
    # Contractions, in either case and with another apostrophe.
    "don't DON'T we'll WE'LL I'm I'M you're they'd it's IT'S", "don’t", "'s 't 're", "x's'S", "'ſ",
    # The names of special tokens in text, whole, touching, broken.
    "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>\n", "a<|im_end|>b", "<|im_end|><|im_end|>", "<|im_end|",
    "<|begin_of_text|>x", "<|eot_id|> y",
    "x <|end_of_text|>", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<｜begin▁of▁sentence｜>x",
    "x<｜end▁of▁sentence｜>", "<｜User｜>q<｜Assistant｜>",
    "<s></s><unk><pad>", "<0x41>", "<tool_call>\n{}\n</tool_call>", "<think>\na\n</think>\n<answer>1</answer>",
    "<issue_start> <repo_name>x", " <|im_start|> ",
    "▁▁", "Ġ Ċ ĉ", "[INST] x [/INST]",
    # Long.
    "a" * 500, "ab" * 300, "é" * 200, "答" * 200, "😀" * 60, " " * 300, "\n" * 100, "supercalifragilistic" * 20,
    "!" * 150, "x1" * 100,
)
# fmt: on


def _mixtures(count: int) -> tuple[str, ...]:
    """Pieces of the texts above, cut anywhere and joined."""
    rng = random.Random(0)
    return tuple(
        "".join(
            (text := rng.choice(BY_HAND))[(start := rng.randint(0, len(text))) : start + rng.randint(1, 12)]
            for _ in range(rng.randint(2, 12))
        )
        for _ in range(count)
    )


TEXTS = BY_HAND + _mixtures(200)


def random_ids(vocab_size: int, rows: int, seed: int = 0) -> list[list[int]]:
    """Rows of ids that no text encodes to, with some past the vocabulary: mostly broken UTF-8."""
    rng = random.Random(seed)
    return [[rng.randrange(vocab_size + 3) for _ in range(rng.randint(0, 40))] for _ in range(rows)]
