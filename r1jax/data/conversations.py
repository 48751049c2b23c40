"""Conversations as a model's own chat template renders them: the ids given and the responses taught.

A row holds `messages` in OpenAI's format, and may hold `system` and `tools`. A turn is trained on after the same text
that the sampler would have as its prompt. A turn with `content` alone is trained on unchanged; of one with
`reasoning_content` or `tool_calls` the text that the template renders is. Fields that the template leaves out are an
error in a turn that is trained on, and counted elsewhere.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from r1jax.config import nearest
from r1jax.data.tasks import DATE
from r1jax.io import jsonl
from r1jax.text.chat import continuation, opening_tag
from r1jax.text.tokenizer import Tokenizer

Message = Mapping[str, Any]

TURN_KEYS = ("reasoning_content", "tool_calls", "weight")  # those of an assistant's turn beside role and content
_CLOSE = "</think>"
_THOUGHT_HINT = "write the thought into the turn's 'content' as the model says it, <think>thought</think>answer"
_CALL_HINT = "write the call into the turn's 'content' as the model says it"
_HINTS = {"reasoning_content": _THOUGHT_HINT, "tool_calls": _CALL_HINT}


class Conversation(NamedTuple):
    """A conversation up to the last turn that is taught.

    Attributes:
        messages: as the template gets them, a row's `system` as the first.
        taught: which of them are taught, in order; at least one.
        tools: the template's variable of this name.
        questions: all of the user's messages.
    """

    messages: Sequence[Message]
    taught: Sequence[int]
    tools: Sequence[Mapping[str, Any]]
    questions: Sequence[str]


class Turns(NamedTuple):
    """The prompts and the responses: `responses[k]` answers `prompts[k]`, which from the second on first ends a turn.

    `unread` names keys of messages that are only given and that the template leaves out.
    """

    prompts: Sequence[str]
    responses: Sequence[str]
    unread: frozenset[str]


def read(row: jsonl.Row) -> Conversation:
    """The conversation of a row. A key filled with null, or with nothing, is as if it were absent.

    Raises:
        ValueError: messages, tools or a system message that are none; or no turn to teach.
    """
    messages = _messages(row["messages"])
    questions = [message["content"] for message in messages if message["role"] == "user"]
    taught = [i for i, message in enumerate(messages) if message["role"] == "assistant" and message.get("weight") != 0]
    if not taught:
        raise ValueError("no turn is taught: all of the assistant's have weight 0")
    if system := system_of(row):
        first = messages[0]
        if first["role"] != "system":
            messages, taught = [{"role": "system", "content": system}, *messages], [i + 1 for i in taught]
        elif first["content"].strip() != system.strip():
            raise ValueError("'system' is one text and the first of 'messages' another: leave one of them out")
    messages = [{key: value for key, value in each.items() if key != "weight"} for each in messages[: taught[-1] + 1]]
    return Conversation(messages, taught, tools_of(row), questions)


def system_of(row: jsonl.Row) -> str:
    """A row's system message, "" for none; raises ValueError for one that is not a string."""
    if row.get("system") in (None, ""):
        return ""
    jsonl.check_text("system", row["system"])
    return row["system"]


def tools_of(row: jsonl.Row) -> list[Mapping[str, Any]]:
    """A row's tools, a list of JSON schemas or the JSON of one; raises ValueError for anything else."""
    tools = row.get("tools") or []
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) or []
        except ValueError as error:
            raise ValueError(f"'tools' is {row['tools']!r}, should be a list of JSON schemas, or its JSON") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise ValueError(f"'tools' is {row['tools']!r}, should be a list of JSON schemas")
    return _without_nulls(tools)


def prompt_of(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, arguments: Mapping[str, Any]
) -> str:
    """The sampler's prompt for the assistant's next turn.

    Raises:
        ValueError: the template refuses the messages, or leaves out the tools or the system message.
    """
    prompt = tokenizer.render_chat(messages, now=DATE, **_variables(tools, arguments))
    if tools:
        functions = [tool.get("function", tool) for tool in tools]
        names = [str(each["name"]) for each in functions if isinstance(each, dict) and each.get("name")]
        without = tokenizer.render_chat(messages, now=DATE, **arguments)
        if prompt == without or not all(name in prompt for name in names):
            raise ValueError("the chat template leaves out 'tools': describe them in a system message instead")
    if messages[0]["role"] == "system" and messages[0]["content"].strip() not in prompt:
        raise ValueError("the chat template leaves out the system message: put its text before the first question")
    return prompt


def turns(conversation: Conversation, tokenizer: Tokenizer, arguments: Mapping[str, Any]) -> Turns:
    """Renders a conversation for teaching.

    Args:
        arguments: further variables of the chat template.

    Raises:
        ValueError: the template refuses the messages, renders a turn differently from the sampler's prompt, or leaves
            out fields that are to be trained on; the message names the turn and a remedy.
    """
    # Templates want a call's arguments as an object, or some as its JSON, and a missing content as "", or some as null:
    # whichever way this one renders.
    calls = any("tool_calls" in message for message in conversation.messages)
    faults = []
    for as_text, no_content in itertools.product((False, True), ("", None)) if calls else [(False, "")]:
        messages = [_spelled(message, as_text, no_content) for message in conversation.messages]
        try:
            return _turns(conversation._replace(messages=messages), tokenizer, arguments)
        except ValueError as error:
            faults.append(error)
    raise faults[0]


def _turns(conversation: Conversation, tokenizer: Tokenizer, arguments: Mapping[str, Any]) -> Turns:
    messages, tools = conversation.messages, conversation.tools

    def render(some: Sequence[Message]) -> str:
        variables = _variables(tools, arguments)
        return tokenizer.render_chat(some, add_generation_prompt=False, now=DATE, **variables)

    prompts, responses, so_far = [], [], ""
    for turn, following in itertools.zip_longest(conversation.taught, conversation.taught[1:]):
        prompt = prompt_of(messages[:turn], tools, tokenizer, arguments)
        if not prompt.startswith(so_far):
            raise _drops_before(turn)
        message = messages[turn]
        # Where the prompt has opened the thought, content alone must close it, or the template.
        if message.keys() > {"role", "content"} or (opening_tag(prompt) and _CLOSE not in message["content"]):

            def whole(message: Message, turn: int = turn, following: int | None = following) -> str:
                """The text that holds the turn: the prompt of the next one trained on, or the conversation so far."""
                some = [*messages[:turn], message, *messages[turn + 1 : following or turn + 1]]
                return prompt_of(some, tools, tokenizer, arguments) if following else render(some)

            try:
                text = _rendered(message, turn, prompt, whole, tokenizer)
            except ValueError as error:
                raise _drops_before(following) if following else error from None
        else:
            text = continuation(prompt, message["content"])
            if turn == conversation.taught[-1]:
                _check_whole(prompt, message["content"], render(messages), turn)
        prompts.append(prompt[len(so_far) :])
        responses.append(text)
        so_far = prompt + text
    return Turns(prompts, responses, frozenset(_unread(conversation, render)))


def _drops_before(turn: int) -> ValueError:
    return ValueError(
        f"the chat template does not repeat word for word what comes before message {turn} (some drop earlier "
        "thoughts), so that the turns cannot be taught together: give each a line of its own, or the earlier ones "
        "'weight': 0"
    )


def _rendered(message: Message, turn: int, prompt: str, whole: Callable[[Message], str], tokenizer: Tokenizer) -> str:
    """The rendered text of a turn after the sampler's prompt, up to the token that ends it.

    Args:
        whole: renders a conversation with this message as the turn.
    """
    extra = sorted(message.keys() - {"role", "content"})
    text = whole(message)
    for key in extra:
        without = {name: value for name, value in message.items() if name != key}
        if text == _or_none(whole, without):
            hint = _HINTS.get(key) or f"take it out, or rename it; nearest: {nearest(key, TURN_KEYS)}"
            raise ValueError(f"the chat template leaves out {key!r} of message {turn}: {hint}")
    if not text.startswith(prompt):
        raise _opens_otherwise(extra)
    rest, position = text[len(prompt) :], 0
    if message["content"] is None and "None" in rest:
        raise ValueError(f"the chat template writes out 'content' of message {turn}, which is null: {_CALL_HINT}")
    for key in ("reasoning_content", "content"):
        part = (message.get(key) or "").strip()
        place = rest.find(part, position)
        if place < 0:
            raise ValueError(
                f"the chat template does not render {key!r} of message {turn} as it stands: "
                f"{_HINTS.get(key, _THOUGHT_HINT)}"
            )
        if key == "content" and opening_tag(prompt) and _CLOSE not in rest[:place]:
            raise ValueError(f"the chat template opens a thought which message {turn} does not close: {_THOUGHT_HINT}")
        position = place + len(part)
    for call in message.get("tool_calls", ()):
        name, arguments = call["function"]["name"], call["function"].get("arguments", {})
        place = max(rest.find(name, position), rest.find(name))
        if place < 0 or not (arguments in rest if isinstance(arguments, str) else _shows(rest, arguments)):
            raise ValueError(
                f"the chat template does not render the call of {name!r} in message {turn} as it stands: {_CALL_HINT}"
            )
        position = max(position, place + len(name))
    return _up_to_the_end(rest, position, tokenizer)


def _check_whole(prompt: str, content: str, whole: str, turn: int) -> None:
    """Checks that a whole conversation begins with the sampler's prompt, and goes on with the response."""
    # A template that opens the thought leaves it out of a conversation that has been held, and the tag with it.
    tag = opening_tag(prompt)
    begins = prompt.rstrip().removesuffix(tag) if tag else prompt
    if not whole.startswith(begins):
        raise _opens_otherwise(())
    if content.rpartition(_CLOSE)[2].strip() not in whole[len(begins) :]:
        raise ValueError(
            f"the chat template does not render 'content' of message {turn} as it stands: give the turn "
            "as 'prompt' and 'response', which follows the sampler's prompt"
        )


def _opens_otherwise(extra: Sequence[str]) -> ValueError:
    cannot = f", so that its {' and '.join(map(repr, extra))} cannot be taught" if extra else ""
    return ValueError(
        "the chat template begins the assistant's turn in one way for the sampler, in another for this "
        f"conversation{cannot}: give the turn as 'prompt' and 'response', which follows the sampler's "
        f"prompt, the response with its thought and its calls as the model says them"
    )


def _up_to_the_end(rest: str, position: int, tokenizer: Tokenizer) -> str:
    """The text before the first token that ends a turn, from `position` on."""
    bos, ends = len(tokenizer.encode("")), set(tokenizer.eos_ids)
    for stop in range(position + 1, len(rest) + 1):
        if not ends.isdisjoint(tokenizer.encode(rest[position:stop])[bos:]):
            starts = range(stop - 1, position - 1, -1)
            return rest[: next(i for i in starts if set(tokenizer.encode(rest[i:stop])[bos:]) <= ends)]
    raise ValueError(
        "the chat template closes an assistant's turn with no end-of-turn token, but with "
        f"{rest[position : position + 20]!r}"
    )


def _unread(conversation: Conversation, render: Callable[[Sequence[Message]], str]) -> Iterator[str]:
    """Keys of the messages that are only given which change nothing of what is rendered.

    Raises:
        ValueError: tool calls are among them: what follows would answer to nothing.
    """
    taught, messages = set(conversation.taught), conversation.messages
    extra = {key for i, each in enumerate(messages) if i not in taught for key in each} - {"role", "content"}
    for key in sorted(extra):
        without = [
            each if i in taught else {name: value for name, value in each.items() if name != key}
            for i, each in enumerate(messages)
        ]
        if render(messages) == _or_none(render, without):
            if key == "tool_calls":
                raise ValueError(f"the chat template leaves out 'tool_calls': {_CALL_HINT}")
            yield key


def _or_none(render: Callable[[Any], str], messages: Any) -> str | None:
    try:
        return render(messages)
    except ValueError:  # the template insists on what is left out
        return None


def _messages(messages: Any) -> list[Message]:
    """Messages of the right form, the assistant's without white space around them, which templates trim or keep."""
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"'messages' is {messages!r}, should be a list of {{'role': ..., 'content': ...}}")
    checked = [_message(index, message) for index, message in enumerate(messages)]
    if checked[0]["role"] == "assistant" or checked[-1]["role"] != "assistant":
        raise ValueError("the conversation must begin with a message to the assistant and end with one of its own")
    return checked


def _message(index: int, message: Any) -> Message:
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise ValueError(f"message {index} is {message!r}, should be {{'role': ..., 'content': ...}}")
    present = {key: value for key, value in message.items() if value is not None and value not in ([], {})}
    if present.get("reasoning_content") == "":
        del present["reasoning_content"]
    calls = present.get("tool_calls")
    if calls and present.get("content", "") == "":
        present["content"] = ""  # OpenAI's null, which many templates would write out
    if not {"role", "content"} <= present.keys():
        raise ValueError(f"message {index} is {message!r}, should be {{'role': ..., 'content': ...}}")
    for key in [key for key in ("role", "content", "reasoning_content") if key in present]:
        if not (calls and key == "content" and present[key] == ""):
            jsonl.check_text(f"{where}.{key}", present[key])
    assistant = present["role"] == "assistant"
    weight = present.get("weight", 0)
    if isinstance(weight, bool) or weight not in (0, 1):
        raise ValueError(f"'{where}.weight' is {weight!r}, should be 0, for a turn that is not taught, or 1")
    for key in TURN_KEYS:
        if key in present and not assistant and (key != "weight" or weight):
            raise ValueError(f"'{where}.{key}' is of a turn of the {present['role']}: only the assistant's have it")
    if calls:
        _check_calls(f"{where}.tool_calls", calls)
        present["tool_calls"] = _without_nulls(calls)
    return present | {"content": present["content"].strip()} if assistant else present


def _check_calls(where: str, calls: Any) -> None:
    right = "should be a list of {'function': {'name': ..., 'arguments': {...}}}"
    if not isinstance(calls, list):
        raise ValueError(f"'{where}' is {calls!r}, {right}")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise ValueError(f"'{where}' holds {call!r}, {right}")


def _spelled(message: Message, as_text: bool, no_content: str | None) -> Message:
    """The message with its calls' arguments as JSON objects, or as JSON's text; what is no JSON stays as it is."""

    def converted(arguments: Any) -> Any:
        if as_text:
            return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        try:
            return _without_nulls(json.loads(arguments)) if isinstance(arguments, str) else arguments
        except ValueError:
            return arguments

    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": converted(call["function"].get("arguments", {}))}}
        for call in message["tool_calls"]
    ]
    return {**message, "content": message["content"] or no_content, "tool_calls": calls}


def _shows(text: str, value: Any) -> bool:
    """Whether a text holds a JSON value, in whatever layout."""
    if isinstance(value, Mapping):
        return all(_shows(text, each) for each in value.values())
    if isinstance(value, list):
        return all(_shows(text, each) for each in value)
    if isinstance(value, str):
        spellings = (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    else:
        spellings = (json.dumps(value), str(value))
    return any(spelling in text for spelling in spellings)


def _variables(tools: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**arguments, **({"tools": tools} if tools else {})}


def _without_nulls(value: Any) -> Any:
    """JSON without the keys that are null: the datasets library fills in those that other rows have."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
