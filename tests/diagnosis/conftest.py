"""A landscape as the taxonomy has it, made of formulas, so that no file is needed."""

import math

import numpy as np
import pytest

from landform.diagnosis import table_of


def made_rows(seed=0, widths=(2, 4, 8, 16, 32, 64), batches=(16, 32, 64, 128, 256, 512), amounts=(1, 2, 4)):
    """Wide networks are best just after they reach zero loss, narrow ones before they come apart."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, width in enumerate(widths):
        for j, batch in enumerate(batches):
            for k, data in enumerate(amounts):
                slack = i + 0.6 * j - 0.7 * k - 3.2 + 0.15 * rng.standard_normal()
                flat = slack > 0
                error = 0.0 if flat else min(60.0, 4.0 * -slack)
                barrier = max(0.0, (2.6 - i + 0.3 * k) * (0.6 + 0.5 * j))
                connectivity = -3 * barrier if barrier > 0.8 else (0.0 if flat else 0.4 * error)
                trace = 5 + 0.4 * j - (2.0 if flat else 0.0) + 0.05 * rng.standard_normal()
                accuracy = 60 + 3 * i + 4 * k + (5 if flat else 0) - 1.2 * abs(j - (2 if i < 3 else 4 - i / 2 + k / 2))
                rows.append(
                    {
                        "width": width,
                        "batch_size": batch,
                        "data": data,
                        "test_acc": accuracy - barrier + 0.1 * rng.standard_normal(),
                        "test_loss": 1.0,
                        "train_error": error,
                        "train_loss": 0.001 if flat else 0.03 * error + 0.02,
                        "mode_connectivity": connectivity,
                        "mode_connectivity_peak": -(error - min(connectivity, 0)),
                        "hessian_t": trace,
                        "hessian_e": trace - 1.5 + 0.1 * rng.standard_normal(),
                        "cka": 1 / (1 + math.exp(-(0.3 * i - 0.2 * j + (0.5 if flat else 0)))),
                    }
                )
    return rows


@pytest.fixture(scope="session")
def made_landscapes():
    """Rows of as many made landscapes as are asked for, which differ in their noise."""
    return lambda count: [row for seed in range(count) for row in made_rows(seed)]


@pytest.fixture(scope="session")
def landscape_rows():
    return made_rows()


@pytest.fixture(scope="session")
def landscape_table(landscape_rows):
    return table_of(landscape_rows, "the made landscape")


@pytest.fixture(scope="session")
def clean(data_root):
    from landform.diagnosis import read_table

    path = data_root / "reference" / "model_diagnosis_clean.csv"
    if not path.is_file():
        pytest.skip("no reference/ under LANDFORM_DATA")
    return read_table(path)
