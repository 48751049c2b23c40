"""Conversations: what the template renders is taught, and no key of a row is lost without a word."""

import json
import pathlib

import fetched
import pytest
import tiny_bpe

from r1jax.data.sft import InstructionConfig, Instructions
from r1jax.io import jsonl
from r1jax.stages.cold_start import candidates
from r1jax.text.tokenizer import load

FAULTS = pathlib.Path(__file__).parent / "conversations"
# Qwen3's template without what is said of how to use tools: it renders thoughts from the last question on, and drops
# earlier ones; `enable_thinking=False` closes the thought in the prompt.
QWEN3 = """
{%- if tools %}{{ '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}
{{- '<tools>' }}{% for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- if message.role == 'user' %}{{ '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{%- set thought = message.reasoning_content if message.reasoning_content is string else '' %}
{%- set content = message.content %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.index0 > ns.last and (loop.last or thought) %}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}{% endif %}
{{- content.lstrip('\\n') }}
{%- for call in message.tool_calls or [] %}{% if content or not loop.first %}{{ '\\n' }}{% endif %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson if call.function.arguments is not string else call.function.arguments }}
{{- '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}
"""
THINKING = QWEN3.replace("assistant\\n' }}\n{%- if enable", "assistant\\n<think>\\n' }}\n{%- if enable")  # as of 2507
# DeepSeek-R1's: it opens the thought, shows none, and joins a call's arguments to its text.
R1 = """
{%- for message in messages %}
{%- if message.role == 'user' %}{{ '<|im_start|>user\\n' + message.content + '<|im_end|>' }}
{%- elif message.role == 'assistant' %}{{ '<|im_start|>assistant\\n' + message.content.split('</think>')[-1] }}
{%- for call in message.tool_calls or [] %}
{{- '<call>' + call.function.name + '\\n```json\\n' + call.function.arguments + '\\n```</call>' }}{% endfor %}
{{- '<|im_end|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}
"""
PLAIN = R1.replace("<think>\\n'", "'")
OPEN, END = "<|im_start|>", "<|im_end|>"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The tokenizer of a model with this chat template."""
    trained, made = tiny_bpe.train(), {}

    def make(template: str):
        if template not in made:
            folder = tmp_path_factory.mktemp("model")
            made[template] = load(
                tiny_bpe.write_folder(folder, trained, tokenizer_config={**tiny_bpe.CONFIG, "chat_template": template})
            )
        return made[template]

    return make


def teach(tmp_path, tokenizer, *rows, **settings) -> Instructions:
    jsonl.write(tmp_path / "data.jsonl", rows)
    settings = {"template": "plain", "chat": True, "held_out_share": 0.0, **settings}
    return Instructions(InstructionConfig(str(tmp_path / "data.jsonl"), **settings), 0, tokenizer, 10_000)


def taught(source: Instructions, tokenizer) -> list[str]:
    """The runs of ids that the first example is trained on, as text, with the names of special tokens."""
    [(ids, mask)] = source.take(0, 1)
    names = {tokenizer.encode(name)[-1]: name for name in (OPEN, END, "<|eot_id|>", "<｜end▁of▁sentence｜>")}
    runs = [""]
    for id_, trained in zip(ids, mask, strict=True):
        if trained:
            runs[-1] += names.get(id_) or tokenizer.decode([id_])
        elif runs[-1]:
            runs.append("")
    return runs


def fault(name: str) -> dict:
    return json.loads((FAULTS / f"{name}.jsonl").read_text("utf-8"))


def say(role: str, content, **keys) -> dict:
    return {"role": role, "content": content, **keys}


ASK = say("user", "What is 6 x 7?")
CALL = {"type": "function", "function": {"name": "mul", "arguments": {"a": 6, "b": 7}}}
CALLED = '<tool_call>\n{"name": "mul", "arguments": {"a": 6, "b": 7}}\n</tool_call>'
THOUGHT, TOOLS = "<think>\n6*7 is 42.\n</think>\n\nIt is 42.", [{"type": "function", "function": {"name": "mul"}}]


@pytest.mark.parametrize(
    ("row", "template", "settings", "runs"),
    [
        (fault("01_reasoning_content"), QWEN3, {}, [THOUGHT + END]),
        (fault("01_reasoning_content"), THINKING, {}, [THOUGHT.removeprefix("<think>\n") + END]),
        (fault("02_tool_calls"), QWEN3, {}, [f"<think>\n\n</think>\n\nI shall multiply.\n{CALLED}{END}"]),
        (
            {"messages": [*fault("02_tool_calls")["messages"], say("tool", "42"), say("assistant", "42!")]},
            QWEN3,
            {},
            [f"I shall multiply.\n{CALLED}{END}", "42!" + END],
        ),
        (
            fault("02_tool_calls"),
            PLAIN,
            {},
            ['I shall multiply.<call>mul\n```json\n{"a": 6, "b": 7}\n```</call>' + END],
        ),
        (fault("02_weight"), PLAIN, {}, ["It is 42." + END]),
        (fault("04_null_keys"), PLAIN, {}, ["It is 42." + END]),
        (fault("03_open_think"), R1, {}, [THOUGHT.removeprefix("<think>\n") + END]),
        (fault("03_open_think_messages"), R1, {}, [THOUGHT.removeprefix("<think>\n") + END]),
        (fault("03_open_think_messages"), THINKING, {}, [THOUGHT.removeprefix("<think>\n") + END]),
        (fault("03_open_think_messages"), QWEN3, {}, [THOUGHT + END]),
        # Arguments as the text of their JSON, OpenAI's way, and no content beside them.
        (
            {
                "messages": [
                    ASK,
                    say(
                        "assistant",
                        None,
                        tool_calls=[{"function": {"name": "mul", "arguments": '{"a": 6, "b": 7}'}, "id": None}],
                    ),
                ]
            },
            QWEN3,
            {},
            [f"<think>\n\n</think>\n\n{CALLED}{END}"],
        ),
        # A call, its result and the answer; the thoughts between them stay, as all are after the last question.
        (
            {
                "messages": [
                    ASK,
                    say("assistant", "", reasoning_content="Use it.", tool_calls=[CALL]),
                    say("tool", "42"),
                    say("assistant", "42!", reasoning_content="So it is."),
                ],
                "tools": json.dumps(TOOLS),
            },
            QWEN3,
            {},
            [f"<think>\nUse it.\n</think>\n\n{CALLED}{END}", "<think>\nSo it is.\n</think>\n\n42!" + END],
        ),
        # An earlier thought is dropped by the template: where its turn has weight 0, that is no loss.
        (
            {
                "messages": [
                    ASK,
                    say("assistant", "42", reasoning_content="Hm.", weight=0),
                    say("user", "Sure?"),
                    say("assistant", "Yes.", reasoning_content="I am."),
                ]
            },
            QWEN3,
            {},
            ["<think>\nI am.\n</think>\n\nYes." + END],
        ),
        # What follows the last turn that is taught is not needed.
        (
            {
                "messages": [
                    ASK,
                    say("assistant", "42", weight=1),
                    say("user", "Sure?"),
                    say("assistant", "No.", weight=0),
                ]
            },
            PLAIN,
            {},
            ["42" + END],
        ),
        # A template that opens the thought may close it itself.
        ({"messages": [ASK, say("assistant", "It is 42.")]}, THINKING, {}, ["\n</think>\n\nIt is 42." + END]),
        (
            {"messages": [ASK, say("assistant", "It is 42.")]},
            QWEN3,
            {"template_arguments": {"enable_thinking": False}},
            ["It is 42." + END],
        ),
    ],
)
def test_trap41_a_turn_is_taught_as_the_models_own_template_renders_it(model, tmp_path, row, template, settings, runs):
    tokenizer = model(template)
    assert taught(teach(tmp_path, tokenizer, row, **settings), tokenizer) == runs


@pytest.mark.parametrize(
    ("row", "template", "words"),
    [
        (fault("01_reasoning_content"), PLAIN, "leaves out 'reasoning_content' of message 1: write the thought into"),
        (fault("01_reasoning_content"), R1, "leaves out 'reasoning_content' of message 1"),
        (fault("02_tool_calls"), tiny_bpe.TEMPLATE, "leaves out 'tool_calls' of message 1: write the call into"),
        (fault("02_tools_system"), PLAIN, "leaves out 'tools'"),
        ({**fault("02_tools_system"), "tools": None}, PLAIN, "leaves out the system message"),
        (
            {
                "messages": [
                    ASK,
                    say("assistant", "41", reasoning_content="a"),
                    ASK,
                    say("assistant", "42", reasoning_content="b"),
                ]
            },
            QWEN3,
            "before message 3.*'weight': 0",
        ),
        ({"messages": [ASK, say("assistant", "42")]}, R1, "one way for the sampler"),  # in a thought that never closes
        ({"messages": [ASK, say("assistant", "42", wieght=0)]}, PLAIN, "leaves out 'wieght'.*nearest: weight"),
        ({"messages": [ASK, say("assistant", "42", weight=0)]}, PLAIN, "no turn is taught"),
        ({"messages": [ASK, say("assistant", "42", weight=0.5)]}, PLAIN, "weight' is 0.5, should be 0"),
        ({"messages": [say("user", "a", weight=1), say("assistant", "42")]}, PLAIN, "only the assistant's have it"),
        ({"messages": [ASK, say("assistant", "42", tool_calls=[{"name": "mul"}])]}, PLAIN, "a list of {'function'"),
        (
            {
                "messages": [
                    ASK,
                    say("assistant", "", tool_calls=[CALL], weight=0),
                    say("tool", "42"),
                    say("assistant", "42"),
                ]
            },
            tiny_bpe.TEMPLATE,
            "leaves out 'tool_calls'",
        ),
        (
            {"messages": [say("system", "a"), ASK, say("assistant", "42")], "system": "b"},
            QWEN3,
            "leave one of them out",
        ),
        ({"messages": [ASK, say("assistant", "42")], "tools": ["mul"]}, QWEN3, "should be a list of JSON schemas"),
        ({"messages": [ASK, say("assistant", "42")], "reasoning_content": "6*7"}, QWEN3, "stands beside the messages"),
        ({"prompt": "a", "response": "b", "reasoning_content": "6*7"}, QWEN3, "stands beside the messages"),
        ({"prompt": "a", "response": "b", "tools": TOOLS}, PLAIN, "leaves out 'tools'"),
    ],
)
def test_trap41_what_the_template_does_not_render_is_refused_by_its_line(model, tmp_path, row, template, words):
    good = {"prompt": "a", "response": "b"}
    with pytest.raises(ValueError, match=rf"data\.jsonl:2: .*{words}"):
        teach(tmp_path, model(template), good, row)


def test_trap41_a_rows_tools_and_system_message_are_given_to_the_template(model, tmp_path):
    tokenizer, row = model(QWEN3), fault("02_tools_system")
    as_prompt = {"prompt": "What is 6 x 7?", "response": "Quarante-deux.", **{k: row[k] for k in ("system", "tools")}}
    for each in (row, as_prompt):
        source = teach(tmp_path, tokenizer, each)
        assert taught(source, tokenizer) == ["Quarante-deux." + END] and not source.notice
        given = tokenizer.decode(source.examples[0][0])
        assert given.startswith('system\nAnswer in French.\n\n<tools>\n{"type": "function", "function": {"name": "mul"')
    with pytest.raises(ValueError, match=r"data\.jsonl:1: 'system' and 'tools' are rendered by .*data\.chat=true"):
        teach(tmp_path, tokenizer, as_prompt, chat=False)


def test_trap41_keys_that_change_nothing_are_counted(model, tmp_path):
    named = [say("user", "a", name="Ann", note=None), say("assistant", "b")]
    source = teach(
        tmp_path,
        model(PLAIN),
        {"messages": named, "source": "x"},
        {"prompt": "a", "response": "b", "source": "y", "id": 1, "weight": None},
    )
    assert source.unread == {"messages[].name": 1, "source": 2}
    assert source.notice == "keys that nothing reads: messages[].name (1 lines), source (2 lines)"


def test_trap40_an_answer_in_a_thought_that_it_does_not_close_is_counted(model, tmp_path):
    rows = [{"prompt": "a", "response": text} for text in ("It is 42.", "6*7</think>42", "<think>6*7</think>42")]
    source = teach(tmp_path, model(R1), *rows)
    assert source.open_thoughts == 1 and source.notice.endswith("which they never close: 1")


def test_trap34_arguments_that_the_template_does_not_read_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="reads no variable 'enable_thinkin'; nearest: enable_thinking"):
        teach(tmp_path, model(QWEN3), {"prompt": "a", "response": "b"}, template_arguments={"enable_thinkin": False})
    for arguments, chat, words in (
        ({"a": 1}, False, "chat=true"),
        ({"messages": []}, True, "not to be chosen"),
        ({"a": {1}}, True, "what JSON can hold"),
    ):
        with pytest.raises(ValueError, match=words):
            InstructionConfig(chat=chat, template_arguments=arguments)


@pytest.mark.parametrize("key", ["system", "tools"])
def test_trap41_a_cold_starts_chains_of_thought_are_of_the_prompt_alone(tmp_path, key):
    row = {"prompt": "1 + 1?", "thought": "One more.", "summary": "2", key: None}
    jsonl.write(tmp_path / "chains.jsonl", [row])
    assert candidates.from_file(tmp_path, "chains.jsonl")[0].summary == "2"
    jsonl.write(tmp_path / "chains.jsonl", [row, {**row, key: ["a"]}])
    with pytest.raises(ValueError, match=rf"chains\.jsonl:2: '{key}' is not given to the model"):
        candidates.from_file(tmp_path, "chains.jsonl")


def test_trap41_with_the_templates_of_real_models(tmp_path):
    qwen, llama, deepseek = (load(fetched.tokenizer_folder(name)) for name in fetched.TOKENIZERS)
    called = taught(teach(tmp_path, qwen, fault("02_tool_calls")), qwen)
    assert called == [f"I shall multiply.\n{CALLED}<|im_end|>"]
    given = qwen.decode(teach(tmp_path, qwen, fault("02_tools_system")).examples[0][0])
    assert "Answer in French." in given and '"mul"' in given
    # DeepSeek-V3's renders calls as text where content is null, and ends the turn after the second.
    row = {"messages": [ASK, say("assistant", None, tool_calls=[CALL, CALL])]}
    [call] = taught(teach(tmp_path, deepseek, row), deepseek)
    assert call.count('mul\n```json\n{"a": 6, "b": 7}\n```') == 2 and call.endswith("<｜end▁of▁sentence｜>")
    for tokenizer, name in (
        (llama, "02_tools_system"),
        (llama, "02_tool_calls"),
        (deepseek, "02_tool_calls"),
        (deepseek, "02_tools_system"),
        (qwen, "01_reasoning_content"),
    ):
        with pytest.raises(ValueError, match=r"data.jsonl:1: the chat template leaves out '(tools|tool_calls|reas)"):
            teach(tmp_path, tokenizer, fault(name))
