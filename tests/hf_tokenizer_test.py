"""A tokenizer.json and the files around it: one beginning, every end, and the same tokenizer after saving."""

import json

import pytest
from nasty import TEXTS, random_ids
from tiny_bpe import CONFIG, NAMES, TEMPLATE, train, write_folder

from r1jax.text.tokenizer import load

END, START, TURN_END, BOS = range(4)
CHAT = [{"role": "user", "content": "1+1?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chat model's: the post-processor adds the beginning, the template writes it too."""
    config = {**CONFIG, "chat_template": TEMPLATE}
    return write_folder(tmp_path_factory.mktemp("chat"), train(adds_bos=True), tokenizer_config=config)


@pytest.fixture(scope="module")
def chat(folder):
    return load(folder)


def test_text_survives_and_names_of_special_tokens_are_those_tokens(chat):
    for text in TEXTS:
        ids = chat.encode(text)
        assert all(0 <= i < chat.vocab_size for i in ids)
        if not any(name in text for name in NAMES):
            assert chat.decode(ids) == text and ids.count(BOS) == 1
    assert chat.encode("a<|im_end|>")[-1] == TURN_END and chat.decode(chat.encode("a<|im_end|>b")) == "ab"


def test_ids_of_any_kind_decode(chat):
    for ids in random_ids(chat.vocab_size, 200):
        chat.decode(ids)
    a = chat.encode("a")
    assert chat.decode([*a, chat.vocab_size, -1, 2**40, END, TURN_END]) == "a"
    assert chat.decode(chat.encode("a🜲")[:-1]) == "a\ufffd"


@pytest.mark.parametrize(
    "in_json, config, begins",
    [
        (True, {}, True),
        (False, {"add_bos_token": True}, True),
        (False, {"add_bos_token": False}, False),
        (False, {}, False),
        (False, {"add_bos_token": True, "bos_token": None}, False),
    ],
)
def test_trap06_a_text_begins_exactly_once_where_the_tokenizer_says_so(tmp_path, in_json, config, begins):
    ours = load(write_folder(tmp_path, train(adds_bos=in_json), tokenizer_config=CONFIG | config))
    start = [BOS] * begins
    assert ours.encode("") == start
    a = ours.encode("a")
    assert a[: len(start)] == start and BOS not in a[len(start) :]
    # What a template has written already stands once, and it stays where the tokenizer adds none.
    assert ours.encode("<|bos|>a") == [BOS, *a[len(start) :]]
    assert ours.encode("<|bos|><|bos|>a").count(BOS) == (1 if begins else 2)
    assert ours.encode("a<|bos|>")[-1] == BOS


def test_trap06_a_rendered_chat_begins_once(chat):
    text = chat.render_chat(CHAT)
    assert text == "<|bos|><|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    ids = chat.encode(text)
    assert ids[:2] == [BOS, START] and ids.count(BOS) == 1
    whole = chat.encode(chat.render_chat([*CHAT, {"role": "assistant", "content": "2"}], add_generation_prompt=False))
    assert whole[: len(ids)] == ids and chat.eos_ids[0] in whole[len(ids) :]


@pytest.mark.parametrize(
    "config, generation, model, ends",
    [
        ({}, {}, {}, (END, TURN_END)),  # the known names, that of eos_token first
        ({"eos_token": {"content": "<|im_end|>"}}, {}, {}, (TURN_END, END)),
        ({"chat_template": TEMPLATE}, {}, {}, (TURN_END, END)),  # a base's eos_token ends no turn of its template
        ({}, {"eos_token_id": 7}, {"eos_token_id": [8, 7]}, (END, 7, 8, TURN_END)),
        ({"eos_token": None}, {"eos_token_id": [9, END]}, {}, (9, END, TURN_END)),
    ],
)
def test_trap05_every_end_counts_and_the_turns_end_comes_first(tmp_path, config, generation, model, ends):
    files = {"tokenizer_config": CONFIG | config, "generation_config": generation, "config": model}
    ours = load(write_folder(tmp_path / "a", train(), **files))
    assert ours.eos_ids == ends and ours.pad_id == ends[0]
    ours.save(tmp_path / "b")
    assert not (tmp_path / "b/config.json").exists()


@pytest.mark.parametrize("generation", [{}, {"generation_config": {"eos_token_id": 9, "top_p": 0.95}}])
def test_ends_known_from_the_models_config_alone_are_saved(tmp_path, generation):
    files = {"tokenizer_config": CONFIG, "config": {"eos_token_id": [9, 8]}, **generation}
    first = load(write_folder(tmp_path / "a", train(), **files))
    first.save(tmp_path / "b")
    assert load(tmp_path / "b").eos_ids == first.eos_ids == (END, 9, 8, TURN_END)
    saved = json.loads((tmp_path / "b/generation_config.json").read_text())
    assert saved.get("top_p") == (0.95 if generation else None)


def test_a_saved_tokenizer_has_the_same_bytes(folder, tmp_path):
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    try:
        load(folder).save(tmp_path)
        assert load(tmp_path).render_chat(CHAT) == "1+1?"  # the file goes before the configuration
        for path in folder.iterdir():
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    finally:
        (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize("model_type", [None, "llama", "qwen2", "qwen3", "deepseek_v3"])
def test_transformers_reads_what_is_saved(chat, tmp_path, model_type):
    transformers = pytest.importorskip("transformers")
    chat.save(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == chat.vocab_size
    if model_type == "qwen2":  # transformers puts Qwen's own rules in the place of the file's; here they are others
        return
    for text in TEXTS:
        ids = theirs.encode(text)
        assert chat.encode(text) == (ids[1:] if ids[:2] == [BOS, BOS] else ids)


def test_a_tokenizer_of_several_templates_takes_the_one_for_tools(tmp_path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools[0].name }}"}]
    folder = write_folder(tmp_path, train(), tokenizer_config=CONFIG | {"chat_template": named})
    ours = load(folder)
    assert (ours.render_chat(CHAT), ours.render_chat(CHAT, tools=[{"name": "add"}])) == ("plain", "add")
    write_folder(tmp_path, train(), tokenizer_config=CONFIG | {"chat_template": named[1:]})
    with pytest.raises(ValueError, match="none of the model's chat templates is the default: tool_use"):
        load(folder).render_chat(CHAT)


def test_no_template_is_an_error_that_says_where_to_put_one(tmp_path, tokenizer):
    ours = load(write_folder(tmp_path, train(), tokenizer_config=CONFIG))
    with pytest.raises(ValueError, match=r"no chat template: put .* as chat_template\.jinja"):
        ours.render_chat(CHAT)
    with pytest.raises(ValueError, match=r"no chat template, .*: ask without chat, or take a model with"):
        tokenizer.render_chat(CHAT)


def test_files_that_cannot_be_used_are_named(tmp_path):
    folder = write_folder(tmp_path, train(), tokenizer_config={"bos_token": "<|bos|>"})
    content = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(content.replace("<|endoftext|>", "<|a|>").replace("<|im_end|>", "<|b|>"))
    with pytest.raises(ValueError, match=r"tokenizer in .*: no end of sequence: name one as eos_token"):
        load(folder)
    (folder / "tokenizer.json").write_text(content[:-9])
    with pytest.raises(ValueError, match=r"tokenizer in .*: tokenizer\.json cannot be read"):
        load(folder)
    (folder / "tokenizer.json").write_text(content)
    (folder / "tokenizer_config.json").write_text('["bos_token"]')
    with pytest.raises(ValueError, match=r"tokenizer_config\.json holds list, should be an object"):
        load(folder)
    (folder / "tokenizer_config.json").write_text('{"chat_template": [{"template": "?"}]}')
    with pytest.raises(ValueError, match=r"tokenizer in .*: tokenizer_config\.json: chat_template.*KeyError\('name'\)"):
        load(folder)
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer in .*: generation_config\.json is not JSON"):
        load(folder)


def declared(token, **attributes):
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return plain | {"content": token} | attributes


@pytest.mark.parametrize("legacy", [False, True])
def test_trap05_tokens_that_only_the_configuration_declares_are_tokens(tmp_path, legacy):
    tokenizer = train()
    size = tokenizer.get_vocab_size()
    config = CONFIG | {"eos_token": "<|end|>"}
    tokens = {str(size + 1): declared("<|end|>"), str(size): declared("<tool>", special=False, lstrip=True)}
    if legacy:
        folder = write_folder(
            tmp_path / "a", tokenizer, tokenizer_config=config, added_tokens={"<|end|>": size + 1, "<tool>": size}
        )
    else:
        tokens["1"] = declared(NAMES[1], special=False)  # special in tokenizer.json, which is enough
        folder = write_folder(tmp_path / "a", tokenizer, tokenizer_config=config | {"added_tokens_decoder": tokens})
    ours = load(folder)
    assert ours.eos_ids[0] == size + 1 and ours.encode("<tool><|end|>") == [size, size + 1]
    assert ours.vocab_size == size + 2 and ours.silent_ids == {*range(len(NAMES)), size + 1}
    ours.save(tmp_path / "b")
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path / "b")
    text = "a <tool> b<|end|>c <|im_start|>"
    assert ours.encode(text) == load(tmp_path / "b").encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text), skip_special_tokens=True)
    assert theirs.eos_token_id == size + 1 and len(theirs) == ours.vocab_size


def test_trap05_a_token_that_cannot_have_its_declared_id_is_refused(tmp_path):
    tokens = {"9000": declared("<|end|>")}
    folder = write_folder(tmp_path, train(), tokenizer_config=CONFIG | {"added_tokens_decoder": tokens})
    with pytest.raises(ValueError, match=r"tokenizer_config\.json gives the token '<\|end\|>' the id 9000, and by"):
        load(folder)


@pytest.mark.parametrize("key, config", [("eos_token", {}), ("bos_token", {"add_bos_token": True})])
def test_trap05_a_named_token_without_an_id_is_refused(tmp_path, key, config):
    folder = write_folder(tmp_path, train(), tokenizer_config=CONFIG | config | {key: "<|nowhere|>"})
    with pytest.raises(ValueError, match=rf"{key} is '<\|nowhere\|>', which has no id: name a token of"):
        load(folder)
