"""A chat template does what templates do in transformers, and nothing else."""

import datetime

import pytest
from steps import steps

from r1jax.text.chat_template import render_template

MESSAGES = [{"role": "user", "content": "<b>“é” & 你</b>"}, {"role": "assistant", "content": "2", "n": [1, 2.5, None]}]

TEMPLATES = (
    "{% for m in messages %}\n  {% if m.role == 'user' %}\nU: {{ m.content }}\n  {% endif %}\n{% endfor %}\nend\n",
    "{%- for m in messages -%}{{ loop.index0 ~ m['role'] }}{%- if loop.last %}.{% endif -%}{%- endfor -%}",
    "{{ messages | tojson }}{{ messages[1] | tojson(indent=2) }}{{ messages[0] | tojson(ensure_ascii=True) }}",
    "{{ messages[1] | tojson(sort_keys=True, separators=(',', ':')) }}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "a{% generation %} b {{ messages[1].content }}{% endgeneration %} c",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{% macro f(x) %}[{{ x | trim | upper }}]{% endmacro %}{{ f(' a ') }}{{ undefined }}{{ none is none }}",
    "{{ 'x' if tools is none else tools | length }}{{ 'y' if add_generation_prompt }}{{ missing is defined }}",
    "{{ '-' * 5 }}{{ 2 ** 10 }}{{ [1] * 3 }}{{ 3 * 4.5 }}{{ dict(a=1) }}",
    "{{ strftime_now('%Y') }}{{ messages[0].content.split('&')[0] }}{{ messages[::-1][0].role }}",
)


@pytest.mark.parametrize("source", TEMPLATES)
def test_a_template_renders_as_in_transformers(source):
    reference = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template
    (theirs,), _ = reference([MESSAGES], chat_template=source, add_generation_prompt=True)
    ours = render_template(source, {"messages": MESSAGES, "add_generation_prompt": True, "tools": None})
    assert ours == theirs and ours


@pytest.mark.parametrize(
    "source, words",
    [
        ("{{ raise_exception('Roles must alternate: user, assistant') }}", "failed: Roles must alternate"),
        ("{{ messages[0].absent.deeper }}", "has no attribute 'absent'"),
        ("{{ messages[0].content + 1 }}", "the chat template failed"),
        ("{% for m in messages %}", "does not parse: line 1: "),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_a_template_that_fails_says_so_in_its_own_words(source, words):
    with pytest.raises(ValueError, match=words):
        render_template(source, {"messages": MESSAGES})


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__ }}",
        "{{ raise_exception.__globals__.json }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}{{ '%s' | format(messages.__class__) }}",
        "{% set _ = messages.append(1) %}",
        "{% for i in range(10**9) %}{{ i }}{% endfor %}",
        "{{ 'a' * 10**12 }}",
        "{{ 10**12 * [0] }}",
        "{{ 9**9**9 }}",
    ],
)
def test_a_template_that_attacks_is_refused(source):
    def attack() -> None:
        with pytest.raises(ValueError, match="chat template failed"):
            render_template(source, {"messages": MESSAGES})

    attack()  # jinja2 compiles it
    assert steps(attack) < 5_000


@pytest.mark.parametrize("source", ["{{ raise_exception.__globals__ }}", "{{ ''|attr('__class__')|attr('__mro__') }}"])
def test_a_template_that_looks_inside_python_sees_nothing(source):
    assert render_template(source, {}) == ""


def test_a_template_that_asks_for_the_time_is_told_the_one_given_or_the_clocks():
    then = datetime.datetime(1999, 12, 31)
    source = "{% macro day() %}{{ strftime_now('%d %b %Y') }}{% endmacro %}{{ day() }}"
    assert render_template(source, {}, now=then) == "31 Dec 1999"
    assert render_template("{{ strftime_now('%Y') }}", {}) == str(datetime.datetime.now().year)


def test_a_template_sees_plain_data_only_and_changes_nothing():
    with pytest.raises(ValueError, match="not JSON serializable"):
        render_template("{{ tool }}", {"tool": object()})
    messages = [dict(MESSAGES[0])]
    with pytest.raises(ValueError):
        render_template("{% set _ = messages[0].update({'role': 'system'}) %}", {"messages": messages})
    assert messages == [MESSAGES[0]]
