"""The fused engine: one extension module per instruction set, each absent without harm where it cannot be built."""

from __future__ import annotations

import copy
import glob
import os
import platform
import sysconfig

from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = "metanet/generation/native"
X86 = platform.machine().lower() in ("x86_64", "amd64") and not sysconfig.get_platform().endswith("arm64")
VARIANTS = {"baseline": []}
if X86:
    VARIANTS["avx2"] = ["-mavx2", "-mfma"]
    VARIANTS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]


def extension(variant: str, flags: list[str]) -> Pybind11Extension:
    """One build of the kernel."""
    module = Pybind11Extension(
        f"metanet.generation.native._{variant}",
        [f"{FOLDER}/binding.cpp"],
        depends=[*sorted(glob.glob(f"{FOLDER}/*.hpp")), f"{FOLDER}/tanh_coefficients.inc"],
        define_macros=[("METANET_VARIANT", f"_{variant}")],
        cxx_std=20,
        extra_compile_args=["-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-g0", "-Wno-psabi", *flags],
    )
    module.optional = True
    return module


class BuildVariants(build_ext):
    """Variants are compiled side by side from one source, so each keeps its objects in a folder of its own."""

    def build_extension(self, ext: Extension) -> None:
        """Build one variant."""
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(own, ext)


setup(
    cmdclass={"build_ext": BuildVariants},
    ext_modules=[extension(variant, flags) for variant, flags in VARIANTS.items()],
    options={"build_ext": {"parallel": os.cpu_count()}},
)
