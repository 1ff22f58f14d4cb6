"""Compiles the hot modules; everything else about the package is in pyproject.toml.

A hot module is a plain Python module with a `.pxd` beside it that gives C types to its classes and local
variables. Without a C compiler the build goes on and the same `.py` runs interpreted, only slower.
"""

from collections.abc import Callable
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HOT = sorted(path.with_suffix(".py") for path in Path("ingressd").rglob("*.pxd") if path.name != "__init__.pxd")

# Cython's own declaration says nothing of types.
to_extensions: Callable[..., list[Extension]] = cythonize
extensions = to_extensions(
    [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            extra_compile_args=["-O3", "-g0"],
        )
        for path in HOT
    ],
    build_dir="build/cython",
    compiler_directives={
        "language_level": 3,
        # Types come from the .pxd files alone: an annotation stays what it is in Python.
        "annotation_typing": False,
    },
)
for extension in extensions:
    # Set here because cythonize drops it.
    extension.optional = True

setup(ext_modules=extensions, options={"build_ext": {"parallel": True}})
