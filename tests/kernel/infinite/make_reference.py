"""How ``infinite_reference.json`` was made: values of neural-tangents 0.6.5 in float64.

In an environment of its own (python 3.11): pip install neural-tangents==0.6.5 jax==0.4.25 jaxlib==0.4.25 numpy==1.26.4
scipy==1.12.0 ml_dtypes==0.5.4 tensorflow==2.21.0 tf2jax==0.3.6; then run this file there. No test imports it.
"""

import json
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
from neural_tangents import stax  # noqa: E402

PHI = {"relu": stax.Relu(), "erf": stax.Erf(), "gelu": stax.Gelu(), "leaky_relu:0.1": stax.LeakyRelu(0.1)}
rng = np.random.default_rng(0)
flat, flat2 = rng.normal(size=(3, 5)), rng.normal(size=(2, 5))
images, images2 = rng.normal(size=(2, 2, 5, 4)), rng.normal(size=(2, 2, 5, 4))
cases = []
for name, phi in PHI.items():
    for depth in (1, 3):
        layers = [part for _ in range(depth) for part in (stax.Dense(8, 1.3, 0.2), phi)]
        kernel = stax.serial(*layers, stax.Dense(1, 1.1, 0.3))[2]
        both = kernel(flat, flat2, ("nngp", "ntk"))
        cases.append(
            {"kind": "dense", "activation": name, "depth": depth, "nngp": both.nngp.tolist(), "ntk": both.ntk.tolist()}
        )
for name in ("relu", "erf", "gelu"):
    for pooling, end in (("flatten", stax.Flatten()), ("mean", stax.GlobalAvgPool())):
        for padding, stride in (("same", 1), ("valid", 1), ("same", 2), ("circular", 1)):
            conv = stax.Conv(8, (3, 3), (stride, stride), padding.upper(), 1.3, 0.2)
            last = stax.Conv(8, (3, 3), (1, 1), "SAME", 1.3, 0.2)
            kernel = stax.serial(conv, PHI[name], last, PHI[name], end, stax.Dense(1, 1.1, 0.3))[2]
            both = kernel(images.transpose(0, 2, 3, 1), images2.transpose(0, 2, 3, 1), ("nngp", "ntk"))
            found = {"nngp": both.nngp.tolist(), "ntk": both.ntk.tolist()}
            case = {"kind": pooling, "activation": name, "padding": padding, "stride": stride, **found}
            cases.append(case)
inputs = {"flat": flat, "flat2": flat2, "images": images, "images2": images2}
table = {**{name: value.tolist() for name, value in inputs.items()}, "cases": cases}
Path(__file__).with_name("infinite_reference.json").write_text(json.dumps(table))
