"""Networks on a GPU: sizes of batches, memory that runs out, and a device that is lost.

There need be no GPU: the sessions here fail with the texts of the runtime, and in one test the runtime itself runs out of memory.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest

from models.manifest import load_manifest
from shared.errors import DeviceMissing
from workers.inference import gpu
from workers.inference.gpu import Arrays, GpuNetwork, Trouble, trouble_of
from workers.inference.onnx import OnnxModels, OnnxNetwork, cuda_options

_WHERE = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'Conv_111' Status Message: "
)
_ARENA = "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) "
_AT = " ; GPU=0 ; hostname=gpu-1 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_stream_handle.cc ; line=175 ; expr=x;"
FULL = _WHERE + _ARENA + "Failed to allocate memory for requested buffer of size 13111296"
LIMIT = _WHERE + _ARENA + "Available memory of 536870912 is smaller than requested bytes of 1073741824"
DRIVER = "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory" + _AT
BLAS = _WHERE + "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED" + _AT
DNN = _WHERE + "CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED" + _AT
ILLEGAL = _WHERE + "CUDA failure 700: an illegal memory access was encountered" + _AT
LAUNCH = "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 719: unspecified launch failure" + _AT
NO_DEVICE = "CUDA failure 100: no CUDA-capable device is detected" + _AT
SHAPE = "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: data for the following indices\n index: 2 Got: 12 Expected: 128"


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        *((text, Trouble.MEMORY) for text in (FULL, LIMIT, DRIVER, BLAS, DNN)),
        *((text, Trouble.DEVICE) for text in (ILLEGAL, LAUNCH, NO_DEVICE)),
        (SHAPE, None),
    ],
)
def test_what_the_runtime_says_of_its_device(text: str, trouble: Trouble | None) -> None:
    assert trouble_of(RuntimeError(text)) is trouble


class Card:
    """A card with room for so many items at a time, and the sessions on it. What goes wrong besides is told by ``fault``."""

    def __init__(self, room: int = 32, *, batched: bool = True) -> None:
        self.room, self.batched = room, batched
        self.sizes: list[int] = []
        self.alive: WeakSet[OneSession] = WeakSet()
        self.opened = 0
        self.lost: list[str] = []
        self.fault: Callable[[int], str | None] = lambda opened: None

    def open(self) -> OneSession:
        assert not self.alive, "two sessions at a time"
        self.opened += 1
        session = OneSession(self, self.opened)
        self.alive.add(session)
        return session

    def network(self) -> GpuNetwork:
        return GpuNetwork(self.open, self.lost.append)


class OneSession:
    name, sha256, device = "net", "0" * 64, "cuda"

    def __init__(self, card: Card, number: int) -> None:
        self._card, self._number, self.batched = card, number, card.batched

    def run(self, feeds: Arrays) -> Arrays:
        size = len(feeds["x"])
        assert all(len(value) == size for value in feeds.values())
        self._card.sizes.append(size)
        text = self._card.fault(self._number) or (FULL if size > self._card.room else None)
        if text is not None:
            raise RuntimeError(text)
        return {"double": 2 * feeds["x"], "sum": feeds["x"].sum(axis=1) + feeds["y"][:, 0]}


def feeds(items: int) -> Arrays:
    return {"x": np.arange(2 * items, dtype=np.float32).reshape(items, 2), "y": np.full((items, 1), 7, np.float32)}


def is_right(found: Arrays, given: Arrays) -> bool:
    return np.array_equal(found["double"], 2 * given["x"]) and np.array_equal(found["sum"], given["x"].sum(axis=1) + 7)


@pytest.mark.parametrize(
    ("items", "sizes"),
    [(1, [1]), (2, [2]), (3, [4]), (8, [8]), (9, [16]), (32, [32]), (33, [32, 1]), (100, [32, 32, 32, 4]), (0, [0])],
)
def test_a_network_sees_few_sizes_whatever_the_batch(items: int, sizes: Sequence[int]) -> None:
    card, given = Card(), feeds(items)
    assert is_right(card.network().run(given), given)
    assert card.sizes == sizes


def test_a_network_that_takes_no_batches_gets_what_it_is_given() -> None:
    card, given = Card(batched=False), feeds(3)
    assert is_right(card.network().run(given), given)
    assert card.sizes == [3]


def test_a_batch_without_room_is_halved_and_the_next_one_is_small_enough() -> None:
    card, given = Card(room=8), feeds(30)
    network = card.network()
    assert is_right(network.run(given), given)
    assert card.sizes == [32, 16, 8, 8, 8, 8]
    card.sizes.clear()
    assert is_right(network.run(given), given)
    assert card.sizes == [8, 8, 8, 8]
    assert (card.opened, card.lost) == (1, [])


def test_a_larger_batch_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TRY_LARGER_AFTER", 3)
    card, given = Card(room=8), feeds(16)
    network = card.network()
    network.run(given)
    card.room = 32
    for _ in range(4):
        assert is_right(network.run(given), given)
    assert card.sizes[-1] == 16


@pytest.mark.parametrize("text", [FULL, LIMIT, DRIVER, BLAS, DNN])
def test_after_a_full_card_every_later_frame_works(text: str) -> None:
    """The first session never works again, as an arena that is full stays full."""
    card, given = Card(), feeds(4)
    network = card.network()
    card.fault = lambda opened: text if opened == 1 else None
    for _ in range(20):
        assert is_right(network.run(given), given)
    assert card.sizes[:4] == [4, 2, 1, 1]  # halved, a single item, that again with a new session
    assert (card.opened, card.lost) == (2, [])


def test_a_network_without_batches_gets_a_new_session_at_once() -> None:
    card, given = Card(batched=False), feeds(2)
    network = card.network()
    card.fault = lambda opened: DRIVER if opened == 1 else None
    assert is_right(network.run(given), given)
    assert card.opened == 2


def test_a_single_item_that_no_session_has_room_for_ends_the_process() -> None:
    card = Card(room=0)
    network = card.network()
    with pytest.raises(DeviceMissing, match="no memory for a single item"):
        network.run(feeds(2))
    assert (card.opened, card.lost) == (2, ["net"])
    with pytest.raises(DeviceMissing, match="about to be replaced"):
        network.run(feeds(1))


def test_a_session_that_cannot_be_opened_again_ends_the_process() -> None:
    card = Card(room=0)

    def open_once() -> OneSession:
        if card.opened:
            raise DeviceMissing("there is no room for the model net on cuda")
        return card.open()

    with pytest.raises(DeviceMissing, match="no room for the model net"):
        GpuNetwork(open_once, card.lost.append).run(feeds(1))
    assert card.lost == ["net"]


@pytest.mark.parametrize("text", [ILLEGAL, LAUNCH, NO_DEVICE])
def test_a_lost_device_ends_the_process_at_once(text: str) -> None:
    card = Card()
    network = card.network()
    card.fault = lambda opened: text
    with pytest.raises(DeviceMissing, match=text.split("CUDA failure ")[1][:3]):
        network.run(feeds(8))
    assert (card.sizes, card.opened, card.lost) == ([8], 1, ["net"])


def test_a_mistake_of_the_caller_is_not_taken_for_a_full_card() -> None:
    card = Card()
    network = card.network()
    card.fault = lambda opened: SHAPE
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
        network.run(feeds(4))
    card.fault = lambda opened: None
    assert is_right(network.run(feeds(4)), feeds(4))
    assert (card.opened, card.lost) == (1, [])


def test_threads_open_one_new_session_together_and_none_loses_its_frame() -> None:
    """All find the card full at the same time; the new session is opened when nobody is in the old one (see `Card.open`)."""
    threads = 6
    together = threading.Barrier(threads)
    card = Card()
    network = card.network()

    def full_for_all(opened: int) -> str | None:
        if opened == 1:
            together.wait(10)
            return FULL
        return None

    card.fault = full_for_all
    right: list[bool] = []

    def use() -> None:
        right.append(is_right(network.run(feeds(1)), feeds(1)))

    workers = [threading.Thread(target=use) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert right == [True] * threads
    assert (card.opened, card.lost) == (2, [])


@pytest.mark.parametrize("items", [3, 9])
def test_the_networks_of_the_manifest_do_not_mind_what_a_batch_is_filled_up_with(items: int) -> None:
    models, seen = OnnxModels(), 0
    for model in load_manifest().models:
        if not model.artefact.file.endswith(".onnx") or not (Path("models/weights") / model.artefact.file).exists():
            continue
        plain = models.open(model.name)
        assert isinstance(plain, OnnxNetwork)
        if not plain.batched:
            continue
        seen += 1
        given = _random_feeds(plain, items)
        found, expected = GpuNetwork(lambda plain=plain: plain, lambda name: None).run(given), plain.run(given)  # type: ignore[misc]
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=model.name)
    assert seen >= 9


def _random_feeds(network: OnnxNetwork, items: int) -> Arrays:
    chance = np.random.default_rng(1)
    sizes = {name: [items, *(side if isinstance(side, int) else 64 for side in sides)] for name, sides in network.sides().items()}
    return {name: chance.uniform(0, 255, size).astype(np.float32) for name, size in sizes.items()}


_ARENA_TEST = """
import numpy as np, onnxruntime as ort, sys
from pathlib import Path
from workers.inference.gpu import GpuNetwork
from workers.inference.onnx import OnnxNetwork

memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": 60 * 2**20, "arena_extend_strategy": 1}))
content = Path(sys.argv[1]).read_bytes()

def session(limited):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if limited:
        options.add_session_config_entry("session.use_env_allocators", "1")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

def network(limited):
    made = session(limited)
    return OnnxNetwork("yunet", "", "cpu", ("input",), tuple(value.name for value in made.get_outputs()), True, made)

small, large = GpuNetwork(lambda: network(True), lambda name: sys.exit("lost")), network(False)
for items in (1, 8, 3, 8, 1):
    given = {"input": np.random.default_rng(items).uniform(0, 255, (items, 3, 640, 640)).astype(np.float32)}
    found, expected = small.run(given), large.run(given)
    assert all(np.allclose(found[name], expected[name], rtol=1e-3, atol=1e-3) for name in expected), items
print("at most", small._room.most)
"""


def test_the_runtime_itself_runs_out_of_memory() -> None:
    """An arena of the runtime's own with too little for four pictures, in a process of its own since arenas belong to the process."""
    weights = Path("models/weights") / load_manifest().get("yunet").artefact.file
    done = subprocess.run([sys.executable, "-c", _ARENA_TEST, weights], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["at most 2"]), done.stderr


def test_a_session_is_told_how_much_it_may_take() -> None:
    options = cuda_options(123456789)
    assert options["gpu_mem_limit"] == "123456789"
    assert options["arena_extend_strategy"] == "kSameAsRequested"


def test_a_worker_whose_device_is_lost_ends_with_a_status_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from sensorium.processes.worker import lost; lost('net')"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 71
    assert "worker.device_lost" in done.stdout + done.stderr
