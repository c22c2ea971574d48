"""From the files of cpp/ to a loaded library: compiled once per machine, into the user's cache folder.

Plain C functions, called through ctypes: no torch headers, so that compiling takes seconds and the library outlives
changes of torch. There is one library per instruction set. Its name holds a hash of all that went into it. Nothing
here raises if a compiler or a folder is missing: `Library.problem` names it, and torch forms take over.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock, Timeout

from harmbench._cache import cache_folder
from harmbench.errors import OptionError

_COMMON = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-shared", "-w"]
_FLAGS = {
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
    "portable": [],
}
_MAIN = "native.cpp"  # which includes the others
_SECONDS = 300


class Library(NamedTuple):
    """A loaded library, or the reason why there is none."""

    handle: ctypes.CDLL | None
    isa: str
    compiler: str
    path: Path | None
    problem: str = ""


def available_isas() -> list[str]:
    """Instruction sets that this CPU can run, best first.

    >>> available_isas()[-1]
    'portable'
    """
    capability = torch.backends.cpu.get_cpu_capability()
    best = {"AVX512": 0, "AVX2": 1}.get(capability, 2)
    return list(_FLAGS)[best:]


def chosen_isa(requested: str) -> str:
    """The best one, or the one asked for (by HARMBENCH_ISA).

    Raises:
        OptionError: if that does not exist or this CPU lacks it.
    """
    available = available_isas()
    isa = requested or available[0]
    if isa not in available:
        raise OptionError(f"HARMBENCH_ISA={isa}: this CPU has {', '.join(available)}")
    return isa


@lru_cache(maxsize=1)
def library() -> Library:
    """The library for the chosen instruction set, compiled if this machine has not done so yet.

    The environment is read at the first call. `library.cache_clear()` has it read again.

    Raises:
        OptionError: if HARMBENCH_ISA names an instruction set that this CPU lacks.
    """
    isa, folder = chosen_isa(os.environ.get("HARMBENCH_ISA", "")), cache_folder(os.environ.get("XDG_CACHE_HOME", ""))
    compiler = _find_compiler(os.environ.get("CXX", ""))
    if not compiler:
        return _without(isa, "", "no C++ compiler found; install g++ or clang++, or set CXX")
    folder_of_source = resources.files("harmbench.nn.kernels").joinpath("cpp")
    source = {part.name: part.read_bytes() for part in sorted(folder_of_source.iterdir(), key=lambda part: part.name)}
    version = _version(compiler)
    key = hashlib.sha256(repr((source, version, _COMMON, _FLAGS[isa], platform.machine())).encode()).hexdigest()[:16]
    path = folder / f"native-{isa}-{key}.so"
    try:
        if not path.exists():
            _compile_once(compiler, version, source, isa, path)
        return Library(_declared(ctypes.CDLL(str(path))), isa, version, path)
    except (OSError, Timeout, subprocess.SubprocessError) as error:
        return _without(isa, version, _reason(error, path))


def _find_compiler(requested: str) -> str:
    candidates = [requested] if requested else ["g++", "c++", "clang++"]
    return next((path for name in candidates if (path := shutil.which(name))), "")


def _version(compiler: str) -> str:
    output = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    return output.splitlines()[0].strip() if output else Path(compiler).name


def _compile_once(compiler: str, version: str, source: Mapping[str, bytes], isa: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=_SECONDS):
        if path.exists():  # another process was first
            return
        _say(f"compiling CPU kernels for {isa} with {version}, once on this machine; a few seconds")
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            built = Path(scratch) / "native.so"
            for name, content in source.items():
                (Path(scratch) / name).write_bytes(content)
            command = [compiler, *_COMMON, *_FLAGS[isa], str(Path(scratch) / _MAIN), "-o", str(built)]
            try:
                _run([*command, "-fopenmp"])
            except subprocess.CalledProcessError:  # Apple's clang has no OpenMP
                _run(command)
                _say("the compiler has no OpenMP: CPU kernels use one thread")
            built.replace(path)


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        first = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr[:200])
        return f"native.cpp does not compile: {first.strip()}"
    if isinstance(error, OSError) and not isinstance(error, Timeout):
        if path.exists():
            return f"{path} does not load ({error}); delete it"
        why = f"the cache folder {path.parent} cannot be written ({error.strerror})"
        return f"{why}; set XDG_CACHE_HOME to one that can"
    return f"compiling took over {_SECONDS} seconds"


def _without(isa: str, version: str, problem: str) -> Library:
    _say(f"CPU kernels are not available, distances run slower: {problem}")
    return Library(None, isa, version, None, problem)


def _say(line: str) -> None:
    sys.stderr.write(f"harmbench: {line}\n")


def _declared(handle: ctypes.CDLL) -> ctypes.CDLL:
    """Argument types: p a pointer, i a 64-bit and c a C integer, f a float."""
    types = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "c": ctypes.c_int, "f": ctypes.c_float}
    for name, arguments in {
        "hb_forward": "cfppiiippc",
        "hb_backward": "cfppiiipppppc",
        "hb_row_stats": "cpiipc",
        "hb_largest": "pic",
        "hb_expand": "cppppiiippc",
        "hb_expand_backward": "cppppiiippppppc",
        "hb_harmonic": "ppiipfppffppc",
        "hb_step": "cfcfpppiiipffppffppppppc",
        "hb_steps": "cfcfcippiiippffppppppc",
    }.items():
        function = getattr(handle, name)
        function.argtypes = [types[letter] for letter in arguments]
        function.restype = ctypes.c_float if name == "hb_largest" else ctypes.c_int
    return handle
