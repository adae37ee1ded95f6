"""The coder of splitnet.codecs in C; everything else about the package stands in pyproject.toml.

It is left out where there is no compiler: the coder in Python serves. One build is for every
Python from 3.10 on.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "splitnet.codecs._native",
            sources=["codecs/_native.c"],
            depends=["codecs/_neighbours.h", "codecs/_streams.h"],
            extra_compile_args=["-std=c99", "-O3", "-g0"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
