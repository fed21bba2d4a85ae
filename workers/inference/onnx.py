"""Verified weights, ready to run: the only place that imports ONNX Runtime, and only when a model is opened.

A model is read once, checked against the manifest, and handed to the runtime as the very bytes that were checked.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from models.manifest import DEFAULT_DIRECTORY, Manifest, Model, State, UnknownModel, load_manifest
from shared import trace
from shared.errors import DeviceMissing, ModelCorrupt, ModelMissing
from shared.log import get_logger
from shared.settings import Settings, SettingsError
from workers.inference.gpu import GpuNetwork, trouble_of

Array = npt.NDArray[Any]
Device = Literal["cpu", "cuda"]
DEFAULT_GPU_MEMORY = 2 * 1024**3
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_QUIET = 3  # the runtime's level "error": its warnings about foldable casts would drown ours

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class OnnxNetwork:
    """A `workers.contract.Network` on ONNX Runtime, whose sessions may run in several threads at once.

    ``sha256`` belongs into the key of every cache of results. ``inputs``: what `run` wants. Feed by name: the order is the
    graph's, not the documentation's. ``batched``: the first axis of each input and output counts items, as many as one likes.
    """

    name: str
    sha256: str
    device: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batched: bool
    _session: Any = field(repr=False)

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Every output by name. Shapes and types are documented in the network's file in `workers/models/`."""
        with trace.span("network", model=self.name, device=self.device):
            values = self._session.run(self.outputs, {name: np.ascontiguousarray(value) for name, value in feeds.items()})
        return dict(zip(self.outputs, values, strict=True))

    def sides(self) -> dict[str, list[int | str | None]]:
        """The axes of each input after the first: lengths, or names of those that are free."""
        return {value.name: list(value.shape[1:]) for value in self._session.get_inputs()}


# One session a process for equal weights on equal terms, as long as somebody holds it: memory, not speed, is at stake.
_opened: WeakValueDictionary[tuple[object, ...], OnnxNetwork | GpuNetwork] = WeakValueDictionary()
_opening = threading.Lock()


def _ignore(name: str) -> None:
    """For those who see by the errors that the device is lost."""


class OnnxModels:
    """`workers.contract.Models` from a directory that `sensorium models pull` has filled."""

    def __init__(
        self,
        models_dir: Path = DEFAULT_DIRECTORY,
        device: Device = "cpu",
        threads: int = 1,
        *,
        gpu_memory: int = DEFAULT_GPU_MEMORY,
        on_lost: Callable[[str], None] = _ignore,
        manifest: Manifest | None = None,
        prefer: Sequence[str] = (),
    ) -> None:
        """``threads``: per model and call (one intra-op thread serves best where jobs run side by side).

        ``gpu_memory``: bytes that each CUDA session may take. ``on_lost`` is called with a model's name when the device is lost to
        this process. ``prefer``: names of models that `choose` takes before others. Raises `DeviceMissing` at once when ``device`` is not usable.
        """
        if threads < 1:
            raise ValueError("threads must be at least 1")
        self._directory = models_dir.resolve()
        self._device = device
        self._threads = threads
        self._gpu_memory = gpu_memory
        self._on_lost = on_lost
        self._manifest = manifest or load_manifest()
        self._prefer = tuple(prefer)
        if device != "cpu":
            _require_provider(device)

    def has(self, name: str) -> bool:
        """Whether its file is installed. Instant: the content is not looked at."""
        return self._is_here(self._find(name))

    def path(self, name: str) -> Path:
        """The verified file of a model or of data that goes with one (the names of sound classes). Raises like `open`."""
        model = self._find(name)
        self._read(model)
        return model.path(self._directory)

    def open(self, name: str) -> OnnxNetwork | GpuNetwork:
        """Raises `ModelMissing`, `ModelCorrupt` or `DeviceMissing`; the message names the command that mends it."""
        model = self._find(name)
        key = (self._directory, name, model.artefact.digest, self._device, self._threads, self._gpu_memory)
        with _opening:
            network = _opened.get(key)
            if network is None:
                network = self._open(model) if self._device == "cpu" else GpuNetwork(lambda: self._open(model), self._on_lost)
                _opened[key] = network
            return network

    def choose(self, name: str) -> OnnxNetwork | GpuNetwork:
        """The best installed one of the model and its stand-ins (`Manifest.best`). Raises like `open`."""
        self._find(name)
        best = self._manifest.best(name, self._is_here, self._prefer)
        return self.open(best.name if best is not None else name)

    def _is_here(self, model: Model) -> bool:
        """Also when it is corrupt: opening it says so."""
        return model.state(self._directory, read=False) is not State.MISSING

    def optional(self, name: str) -> OnnxNetwork | GpuNetwork | None:
        """The model, or None when it is not installed. Raises `ModelCorrupt` or `DeviceMissing`."""
        return self.open(name) if self._is_here(self._find(name)) else None

    def _find(self, name: str) -> Model:
        try:
            return self._manifest.get(name)
        except UnknownModel as error:
            raise ModelMissing(str(error)) from error

    def _read(self, model: Model) -> bytes:
        """The file's bytes, checked: what is checked is what runs, whatever happens to the file meanwhile."""
        path = model.path(self._directory)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ModelMissing(f"the model {model.name} is not installed in {self._directory}; {_mend(model)}") from None
        if not model.artefact.matches(content):
            raise ModelCorrupt(f"{path} is not the file in the manifest; {_mend(model)}")
        return content

    def _open(self, model: Model) -> OnnxNetwork:
        content = self._read(model)
        session = self._session(model, content)
        expected = _PROVIDERS[self._device]
        if session.get_providers()[0] != expected:
            # The runtime falls back to the CPU with a mere warning when CUDA's libraries do not load.
            raise DeviceMissing(f"the model {model.name} does not run on {self._device}: {expected} did not start; {_CUDA_HINT}")
        session.disable_fallback()  # else it goes on with the CPU after an error of the device, with a line on standard output
        inputs, outputs = session.get_inputs(), session.get_outputs()
        log.info("model.opened", model=model.name, device=self._device, threads=self._threads)
        return OnnxNetwork(
            name=model.name,
            sha256=model.artefact.sha256 or hashlib.sha256(content).hexdigest(),
            device=self._device,
            inputs=tuple(value.name for value in inputs),
            outputs=tuple(value.name for value in outputs),
            batched=_is_batched([value.shape for value in (*inputs, *outputs)]),
            _session=session,
        )

    def _session(self, model: Model, content: bytes) -> Any:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _QUIET
        # Idle threads that spin take the cores from the other models of this machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Weights outside the file would escape the digest: they are looked for below the file itself, where nothing can be.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(model.path(self._directory)))
        try:
            return runtime.InferenceSession(content, sess_options=options, providers=self._providers())
        except Exception as error:  # they have no base class of their own
            if trouble_of(error) is not None:
                raise DeviceMissing(f"there is no room for the model {model.name} on {self._device}: {error}") from error
            raise ModelCorrupt(f"the runtime refuses the model {model.name}: {error}") from error

    def _providers(self) -> list[Any]:
        if self._device == "cpu":
            return [_PROVIDERS["cpu"]]
        return [(_PROVIDERS[self._device], cuda_options(self._gpu_memory)), _PROVIDERS["cpu"]]


def cuda_options(memory: int) -> dict[str, str]:
    """The terms on which a session of ``memory`` bytes runs on a GPU that it shares."""
    return {
        "gpu_mem_limit": str(memory),
        # No more than what is asked for; the default doubles the arena each time.
        "arena_extend_strategy": "kSameAsRequested",
        # Convolutions choose among algorithms with 32 MiB of scratch memory, not among all that the card has room for...
        "cudnn_conv_use_max_workspace": "0",
        # ...and by rule: the default tries out each one whenever a new shape comes, which takes seconds with a picture waiting.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Confidences were calibrated with whole float32; these networks are too small for the difference in speed to matter.
        "use_tf32": "0",
    }


def open_models(settings: Settings, on_lost: Callable[[str], None] = _ignore) -> OnnxModels:
    """The models of a process. Jobs run side by side, so each takes one thread; how many is the host's business."""
    directory = settings.models_dir or DEFAULT_DIRECTORY
    prefer = settings.preferred_models
    known = {model.name for model in load_manifest().models}
    if unknown := [name for name in prefer if name not in known]:
        raise SettingsError(f"SENSORIUM_PREFER_MODELS: no model is called {unknown[0]!r}; see: sensorium models list")
    return OnnxModels(directory, settings.device, gpu_memory=settings.gpu_memory_bytes, on_lost=on_lost, prefer=prefer)


def _is_batched(shapes: list[list[int | str | None]]) -> bool:
    """The graph says it: one name for the first axis of everything."""
    first = {shape[0] if shape else None for shape in shapes}
    return len(first) == 1 and isinstance(first.pop(), str)


_CUDA_HINT = 'install it with: pip install "sensorium[gpu]" (and CUDA and cuDNN), or choose the device cpu'


def _mend(model: Model) -> str:
    return f"run: sensorium models pull {model.name}"


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceMissing('ONNX Runtime is not installed; run: pip install "sensorium[cpu]"') from error
    return onnxruntime


def _require_provider(device: Device) -> None:
    runtime = _runtime()
    if _PROVIDERS[device] not in runtime.get_available_providers():
        raise DeviceMissing(f"the device {device} is not usable here: this ONNX Runtime has no {_PROVIDERS[device]}; {_CUDA_HINT}")
    # CUDA's libraries that pip installed are in no place where the loader looks.
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
