"""FLOPs, bytes and collectives of a program compiled for TPU or CPU, read from its text.

The text is an optimised HLO module. What is in a loop counts as often as the loop turns: XLA's own cost analysis counts
it once, and Pallas kernels not at all.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

COLLECTIVES = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "ragged-all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "f64": 8}
_NO_TRAFFIC = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "iota"),
    *("after-all", "partition-id", "copy-done", "optimization-barrier"),
)
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # -> which operand is written
_SLICES = ("dynamic-slice", "gather", "slice")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of an HLO computation.

    Attributes:
        types: of the result: "bf16[8,128]{1,0}", or several in brackets.
        kind: "fusion", "while", ...; of one that begins, what it begins.
        operands: the names of its operands.
        line: the whole.
    """

    name: str
    types: str
    kind: str
    operands: tuple[str, ...]
    line: str


Module = dict[str, dict[str, Instruction]]


def parse(text: str) -> tuple[str, Module]:
    """The name of the entry, and the instructions of each computation by name."""
    module: Module = {}
    entry = name = ""
    for line in text.splitlines():
        if begin := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            name = begin[2]
            entry = name if begin[1] else entry
            module[name] = {}
        elif match := re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z\-]*)\(([^)]*)", line):
            operands = tuple(re.findall(r"%([\w.\-]+)", match[4]))
            kind = match[3].removesuffix("-start")
            module.setdefault(name, {})[match[1]] = Instruction(match[1], match[2], kind, operands, line)
    return entry, module


def _arrays(types: str) -> list[tuple[str, list[int], bool]]:
    """Element type, shape, and whether it lies in the chip's HBM, of each array of a type."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^}]*\})?", types)
    return [(t, [int(n) for n in shape.split(",") if n], "S(" not in layout) for t, shape, layout in arrays]


def _nbytes(types: str) -> list[int]:
    return [_BYTES.get(t, 4) * math.prod(shape) for t, shape, _ in _arrays(types)]


def _hbm_bytes(types: str) -> int:
    return sum(_BYTES.get(t, 4) * math.prod(shape) for t, shape, in_hbm in _arrays(types) if in_hbm)


def _turns(line: str, module: Module, unknown: int) -> int:
    """How often the loop of a `while` line turns; `unknown` where only the run can tell."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(known[1])
    # A TPU's program does not say it: its loops count from 0 to the constant that their condition compares with, and a
    # loop that was unrolled counts in larger steps.
    condition, body = (module.get(re.search(rf"{part}=%?([\w.\-]+)", line)[1], {}) for part in ("condition", "body"))
    compare = next((each for each in condition.values() if "ROOT" in each.line and "direction=LT" in each.line), None)
    bound = compare and _constant(condition, compare.operands[1])
    if bound is None:
        return unknown
    counter = re.search(r"index=(\d+)", condition[compare.operands[0]].line)
    root = next((each for each in body.values() if "ROOT" in each.line and each.kind == "tuple"), None)
    step = root and counter and body.get(root.operands[int(counter[1])])
    steps = [_constant(body, name) for name in step.operands] if step and step.kind == "add" else []
    return -(-bound // next((n for n in steps if n), 1))


def _constant(computation: dict[str, Instruction], name: str) -> int | None:
    """The value of an integer constant, None of anything else."""
    match = name in computation and re.search(r" constant\((\d+)\)", computation[name].line)
    return int(match[1]) if match else None


def walk(text: str, unknown: int = 1, fused: bool = True) -> Iterator[tuple[Instruction, str, Module, int]]:
    """Each instruction that the program runs, its computation's name, the module, and how often it runs.

    Args:
        unknown: the turns of a loop whose number is known only at run time.
        fused: also what is inside of fusions, and what reductions apply.
    """
    entry, module = parse(text)

    def inside(name: str, times: int) -> Iterator[tuple[Instruction, str, Module, int]]:
        for instruction in module.get(name, {}).values():
            yield instruction, name, module, times
            if not fused and instruction.kind not in ("while", "call", "async"):
                continue
            turns = _turns(instruction.line, module, unknown) if instruction.kind == "while" else 1
            for called in re.findall(r"(?:calls|body|to_apply)=%?([\w.\-]+)", instruction.line):
                yield from inside(called, times * turns)

    yield from inside(entry, 1)


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation of a compiled program.

    Attributes:
        kind: one of `COLLECTIVES`.
        dtype: of what is sent, in HLO's words: "f32".
        size: bytes on one device of the larger end: what an all-gather gives, what a reduce-scatter takes.
        times: how often it runs.
    """

    kind: str
    dtype: str
    size: int
    times: int


def _group_size(line: str) -> int:
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return listed[1].count(",") + 1
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return int(iota[1]) if iota else 1


def collectives(text: str, unknown: int = 1) -> Iterator[Collective]:
    """The collective operations of an optimised HLO module, each with the turns of the loops around it."""
    for instruction, within, _, times in walk(text, unknown):
        kind = instruction.kind
        if kind not in COLLECTIVES:
            continue
        size = max(_nbytes(instruction.types), default=0)  # an operation that has begun holds both ends
        if kind == "all-reduce" and within.startswith("all-reduce-scatter"):  # how a TPU has a reduce-scatter
            kind = "reduce-scatter"
        elif kind == "reduce-scatter":
            size *= _group_size(instruction.line)
        yield Collective(kind, re.search(r"[a-z]+\d*(?=\[)", instruction.types)[0], size, times)


def _product_flops(instruction: Instruction, computation: dict[str, Instruction]) -> int:
    """FLOPs of a convolution, which is what a TPU makes of a matrix product; batch axes are windows full of padding."""
    of_x, of_w, of_y = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.line).groups()
    x, w = (_arrays(computation[name].types)[0][1] for name in instruction.operands[:2])
    y = _arrays(instruction.types)[0][1]
    window = dict(re.findall(r"(\w+)=([\dx_\-]+)", (re.search(r"window=\{([^}]*)\}", instruction.line) or [""])[0]))
    products = 2 * y[of_y.index("b")] * y[of_y.index("f")] * w[of_w.index("i")]
    for axis in (label for label in of_y if label.isdigit()):
        at = int(axis)
        size, outputs, inputs = w[of_w.index(axis)], y[of_y.index(axis)], x[of_x.index(axis)]
        stride, dilate, base = (
            int(window[name].split("x")[at]) if name in window else 1 for name in ("stride", "rhs_dilate", "lhs_dilate")
        )
        low = int(window["pad"].split("x")[at].split("_")[0]) if "pad" in window else 0
        places = (out * stride + tap * dilate - low for out in range(outputs) for tap in range(size))
        products *= sum(place % base == 0 and 0 <= place // base < inputs for place in places)
    return products


def _dot_flops(instruction: Instruction, computation: dict[str, Instruction]) -> int:
    """FLOPs of a matrix product as a CPU's program has it."""
    left = _arrays(computation[instruction.operands[0]].types)[0][1]
    summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.line)
    size = math.prod(left[int(axis)] for axis in summed[1].split(",") if axis) if summed else 1
    return 2 * size * math.prod(_arrays(instruction.types)[0][1])


# Products of a tile of queries with one of keys in each kernel: how many are as wide as a key, how many as a value.
_SPLASH = {"fwd": (1, 1), "dkv": (2, 2), "dq": (2, 1)}


def _kernel_flops(instruction: Instruction) -> int:
    """FLOPs of a splash attention kernel by its operands' shapes, half of the square; 0 for others."""
    kernel = re.match(r"splash_m\wa_(fwd|dkv|dq)_", instruction.name)
    if not kernel:
        return 0
    operands = re.search(r"operand_layout_constraints=\{(.*?)\}, \w+=", instruction.line + ", x=")[1]
    q, _, v = [shape for t, shape, _ in _arrays(operands) if t in ("bf16", "f32") and len(shape) >= 3][:3]
    keys, values = _SPLASH[kernel[1]]
    return math.prod(q[:-1]) * q[-2] * (keys * q[-1] + values * v[-1])


def _read_of(parameter: str, inside: dict[str, Instruction], module: Module, whole: int) -> int:
    """Bytes that a fused computation reads of one of its parameters: of what is only sliced, the slices."""
    total = 0
    for user in inside.values():
        if parameter not in user.operands:
            continue
        if user.kind in _SLICES:
            total += sum(_nbytes(user.types))
        elif user.kind == "bitcast":
            total += _read_of(user.name, inside, module, whole)
        elif user.kind in _UPDATES and user.operands[0] == parameter:
            total += _updated(user, inside)
        elif user.kind == "fusion":
            nested = module.get(_called(user), {})
            for place, operand in enumerate(user.operands):
                if operand == parameter:
                    total += _read_of(_parameter(nested, place), nested, module, whole)
        else:
            return whole
    return min(total, whole)


def _updated(update: Instruction, inside: dict[str, Instruction]) -> int:
    """Bytes that an update writes in place."""
    return sum(_nbytes(inside[update.operands[_UPDATES[update.kind]]].types))


def _called(fusion: Instruction) -> str:
    return re.search(r"calls=%?([\w.\-]+)", fusion.line)[1]


def _parameter(computation: dict[str, Instruction], place: int) -> str:
    return next((name for name, each in computation.items() if f" parameter({place})" in each.line), "")


def _traffic(instruction: Instruction, computation: dict[str, Instruction], module: Module) -> int:
    """Bytes between the chip's HBM and its units: operands and result, of what is only sliced the slices."""
    if instruction.kind in (*_NO_TRAFFIC, *COLLECTIVES) or instruction.kind.endswith("-done"):
        return 0
    types = [computation[name].types if name in computation else "" for name in instruction.operands]
    if instruction.kind == "custom-call":
        return _kernel_traffic(instruction, types)
    if instruction.kind == "fusion":
        inside = module.get(_called(instruction), {})
        whole = [_hbm_bytes(each) for each in types]
        read = sum(_read_of(_parameter(inside, i), inside, module, size) for i, size in enumerate(whole))
        updates = [each for each in inside.values() if each.kind in _UPDATES]
        in_place = sum(sum(_nbytes(each.types)) - _updated(each, inside) for each in updates)
        return read + max(_hbm_bytes(instruction.types) - in_place, 0)
    if instruction.kind in _SLICES:
        return 2 * _hbm_bytes(instruction.types)
    if instruction.kind == "dynamic-update-slice":
        return 2 * _hbm_bytes(types[1])
    if instruction.kind == "copy" and "copy-start" in instruction.line:
        return max(_nbytes(instruction.types), default=0)
    return sum(map(_hbm_bytes, types)) + _hbm_bytes(instruction.types)


def _kernel_traffic(kernel: Instruction, types: list[str]) -> int:
    """Bytes of a kernel's operands and result; of a cache of all layers `[L, B, K, S, H]` it reads one whole layer, or
    writes one token of each row in place."""
    if "tpu_custom_call" not in kernel.line:
        return 0
    total = 0
    for each in (*types, kernel.types):
        for t, shape, in_hbm in _arrays(each):
            is_cache = len(shape) == 5
            if in_hbm and not (is_cache and (each is kernel.types or kernel.name.startswith("write_token"))):
                total += _BYTES.get(t, 4) * math.prod(shape[1:] if is_cache else shape)
    return total


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a device of JAX is at most; for TPUs as their maker publishes it.

    Attributes:
        flops: FLOP/s of bfloat16 products.
        hbm: bytes/s of its memory.
        links: bytes/s of all its links to other chips, both directions.
        memory: bytes that the compiler lets a program have.
        devices: of JAX, to a chip; all else here is of one device.
    """

    flops: float
    hbm: float
    links: float
    memory: int
    devices: int = 1


_GiB = 2**30
CHIPS = {
    "v5e": Chip(197e12, 819e9, 400e9, round(15.75 * _GiB)),
    "v5p": Chip(459e12, 2765e9, 1200e9, round(95.74 * _GiB)),
    "v6e": Chip(918e12, 1640e9, 800e9, round(31.25 * _GiB)),
    "v7x": Chip(2307e12 / 2, 7380e9 / 2, 1200e9 / 2, round(94.75 * _GiB), devices=2),
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """A program's work on one chip.

    Attributes:
        flops: of its matrix products and of the attention kernels of training.
        traffic: bytes to and from HBM.
        moved: bytes of its collectives, the larger end of each.
        seconds: the least time that its operations take one after the other, each bound by FLOPs or by bytes.
        link_seconds: the least time of the collectives, which may run beside them.
    """

    flops: int
    traffic: int
    moved: int
    seconds: float
    link_seconds: float


def cost(text: str, chip: Chip, unknown: int = 1) -> Cost:
    """The roofline of an optimised HLO module: what it must take at the published peaks of a chip."""
    flops = traffic = 0
    seconds = 0.0
    of_fusions: dict[str, int] = {}

    def flops_of(instruction: Instruction, computation: dict[str, Instruction], module: Module) -> int:
        if instruction.kind == "convolution":
            return _product_flops(instruction, computation)
        if instruction.kind == "dot":
            return _dot_flops(instruction, computation)
        if instruction.kind == "custom-call":
            return _kernel_flops(instruction)
        if instruction.kind != "fusion":
            return 0
        name = _called(instruction)
        if name not in of_fusions:
            inside = module.get(name, {})
            of_fusions[name] = sum(flops_of(each, inside, module) for each in inside.values())
        return of_fusions[name]

    for each, name, module, times in walk(text, unknown, fused=False):
        work, moved = flops_of(each, module[name], module), _traffic(each, module[name], module)
        flops, traffic = flops + times * work, traffic + times * moved
        seconds += times * max(work / chip.flops, moved / chip.hbm)
    moved = sum(each.size * each.times for each in collectives(text, unknown))
    return Cost(flops, traffic, moved, seconds, moved / chip.links)
