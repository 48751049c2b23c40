"""What a teacher said, on disk: whole shards or none, found by an example's tokens, refused where it does not fit."""

import dataclasses

import numpy as np
import pytest

from r1jax.config import ConfigError
from r1jax.data import teacher_logits
from r1jax.data.batching import pack, size, unpack
from r1jax.data.teacher_logits import SoftTargets, begin, key, vocabulary_key, write_shard

K = 3
TEACHER = {"path": "t", "hash": "1"}


@dataclasses.dataclass
class Letters:
    """As many ids as letters, one for the end."""

    letters: str = "abcdefgh"
    silent_ids = frozenset()

    @property
    def vocab_size(self) -> int:
        return len(self.letters)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        return (self.vocab_size - 1,)

    def decode(self, ids) -> str:
        return "".join(self.letters[i] for i in ids)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(teacher_logits, "SHARD", 4)


def make_examples(count: int):
    """Examples no two of which are alike, and a word on each."""
    rng = np.random.default_rng(0)
    examples, words = [], []
    for index in range(count):
        n = int(rng.integers(3, 9))
        mask = [0, *rng.integers(0, 2, n - 2), 1]
        examples.append(([index, *rng.integers(0, 8, n - 1).tolist()], mask))
        ids = rng.integers(0, 8, (sum(mask[1:]), K)).astype(np.int32)
        words.append((ids, rng.standard_normal((len(ids), K + 1)).astype(np.float16)))
    return examples, words


def setup(**changes):
    return {"teacher": TEACHER, "vocabulary": vocabulary_key(Letters()), "k": K, "temperature": 1.5} | changes


def written(folder, examples, words, shards=None):
    left = begin(folder, setup(), examples)
    for index in left[:shards]:
        write_shard(folder, index, words[4 * index : 4 * index + 4])
    return folder


def same(ours, theirs) -> bool:
    return all(
        np.array_equal(a, b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_the_word_on_an_example_is_found_by_its_tokens_in_any_order(tmp_path):
    examples, words = make_examples(10)
    soft = SoftTargets(written(tmp_path, examples, words), Letters(), examples[3:])
    assert soft.temperature == 1.5
    order = [9, 0, 5, 5, 3, 4]
    assert same(soft.of([examples[i] for i in order]), [words[i] for i in order])
    assert soft.of([]) == []


def test_trap35_what_is_written_stays_and_only_the_rest_is_left_to_do(tmp_path):
    examples, words = make_examples(10)
    written(tmp_path, examples, words, shards=2)
    before = (tmp_path / "00000.npy").stat().st_mtime_ns
    (tmp_path / "00002.npy.part").write_bytes(b"half")  # a kill in the middle
    with pytest.raises(ValueError, match=r"1 of 3 shards are missing; start the run of stage teach again"):
        SoftTargets(tmp_path, Letters(), examples)
    assert begin(tmp_path, setup(), examples) == [2]
    written(tmp_path, examples, words)
    assert begin(tmp_path, setup(), examples) == [] and (tmp_path / "00000.npy").stat().st_mtime_ns == before
    assert same(SoftTargets(tmp_path, Letters(), examples).of(examples), words)


def test_another_teacher_or_other_examples_are_refused_by_name(tmp_path):
    examples, words = make_examples(5)
    written(tmp_path, examples, words)
    with pytest.raises(ConfigError, match=r"made otherwise; choose another --workdir.*\n  k: 3 -> 4"):
        begin(tmp_path, setup(k=4), examples)
    with pytest.raises(ConfigError, match=r"examples: 5 -> 4"):
        begin(tmp_path, setup(), examples[:4])
    with pytest.raises(ConfigError, match=r"examples_key"):
        begin(tmp_path, setup(), examples[::-1])
    with pytest.raises(ConfigError, match=r"teacher.hash: '1' -> '2'"):
        begin(tmp_path, setup(teacher=TEACHER | {"hash": "2"}), examples)


def test_trap38_a_teacher_that_lies_elsewhere_now_is_the_same(tmp_path):
    examples, words = make_examples(5)
    written(tmp_path, examples, words)
    before = key(tmp_path)
    assert begin(tmp_path, setup(teacher=TEACHER | {"path": "elsewhere"}), examples) == []
    assert key(tmp_path) == before  # by which students' runs and models know it


def test_a_student_of_another_vocabulary_or_with_other_examples_is_told(tmp_path):
    examples, words = make_examples(5)
    written(tmp_path, examples[:4], words)
    for other in ("abcdefghi", "abcdefhg"):
        with pytest.raises(ValueError, match=r"the teacher's vocabulary is .* and this model's .*config\.tokenizer"):
            SoftTargets(tmp_path, Letters(other), examples[:4])
    with pytest.raises(ValueError, match=r"has no word on 1 of 5 examples: .*data\.template"):
        SoftTargets(tmp_path, Letters(), examples)
    ids, mask = examples[0]
    with pytest.raises(ValueError, match=r"has no word on 1 of 1"):  # the same tokens, but more of them trained on
        SoftTargets(tmp_path, Letters(), [(ids, [1 - mask[0], *mask[1:]])])
    with pytest.raises(FileNotFoundError, match=r"holds no soft targets .*--workdir of a run of stage teach"):
        SoftTargets(tmp_path / "elsewhere", Letters(), examples)


def test_a_folder_is_keyed_by_what_made_it(tmp_path):
    examples, words = make_examples(5)
    a, b = written(tmp_path / "a", examples, words), written(tmp_path / "b", examples, words)
    c = written(tmp_path / "c", examples[:4], words)
    assert teacher_logits.key(a) == teacher_logits.key(b) != teacher_logits.key(c)


def test_packed_words_stand_at_their_targets_and_unpacking_gives_them_back():
    examples, words = make_examples(10)
    batch, left_over = pack(examples, 6, 12, words)
    assert left_over == 0
    assert same(unpack((batch.soft_ids, batch.soft_logprobs), examples), words)
    # Any values: those at the targets that are trained on, in the examples' order.
    [row, column] = np.meshgrid(np.arange(6), np.arange(12), indexing="ij")
    for (r, c), (ids, mask) in zip(unpack((row, column), examples), examples, strict=True):
        assert batch.targets[r, c].tolist() == [i for i, m in zip(ids[1:], mask[1:], strict=True) if m]
        assert (batch.weights[r, c] > 0).all()
    nowhere = batch.weights == 0
    assert not batch.soft_ids[nowhere].any() and not batch.soft_logprobs[nowhere].any()


def test_a_cut_example_keeps_the_words_on_what_is_left_of_it():
    example, words = ([1, 2, 3, 4, 5], [0, 0, 1, 0, 1]), (np.array([[7], [8]]), np.array([[-1, -2], [-3, -4]]))
    batch, _ = pack([example], 1, 3, [words])
    assert batch.soft_ids[0].tolist() == [[0], [7], [0]] and size(example, 3) == 3
