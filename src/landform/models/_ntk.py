"""Layers in NTK parametrisation: the spread of the weights stands in the forward pass, not in the weights.

Jacot, Gabriel and Hongler (2018), section 2: ``y = (sigma / sqrt(fan_in)) W x + beta b`` with unit normal ``W``. At a
given function the gradients differ from those of the standard parametrisation by the factors, so the tangent kernel
has a limit at infinite width and one learning rate serves all widths.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def scales(model: nn.Module) -> dict[str, float]:
    """Tell what the forward pass multiplies each parameter by.

    Multiplying every parameter of a net in NTK parametrisation by its scale gives the parameters of the standard net
    that computes the same function.

    Args:
        model: any module.

    Returns:
        For each parameter, in the order of ``named_parameters()``, its factor: 1 but for the weights and biases of
        layers in NTK parametrisation.
    """
    factors = {name: 1.0 for name, _ in model.named_parameters()}
    for prefix, module in model.named_modules():
        if isinstance(module, NTKLinear | NTKConv2d):
            dot = f"{prefix}." if prefix else ""
            factors[f"{dot}weight"] = module.weight_scale
            if module.bias is not None:
                factors[f"{dot}bias"] = module.bias_scale
    return factors


class NTKLinear(nn.Module):
    """A dense layer ``y = x (s_w W)' + s_b b``.

    Not an ``nn.Linear``: whoever treats that class by its formula would miss the factors.

    Attributes:
        weight: W, ``[out, in]``.
        bias: b, ``[out]``, or None.
        weight_scale: s_w.
        bias_scale: s_b.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None, *, weight_scale: float, bias_scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))
        self.weight_scale = weight_scale
        self.bias_scale = bias_scale

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: ``[..., in]``.

        Returns:
            ``[..., out]``.
        """
        shift = None if self.bias is None else self.bias * self.bias_scale
        return F.linear(x, self.weight * self.weight_scale, shift)

    def extra_repr(self) -> str:
        """Name the sizes and factors in ``print(model)``."""
        out, into = self.weight.shape
        return f"{into}, {out}, bias={self.bias is not None}, weight_scale={self.weight_scale:.4g}"


class NTKConv2d(nn.Module):
    """A convolution with filters ``s_w W`` and shifts ``s_b b``.

    Attributes:
        weight: W, ``[out, in, height, width]``.
        bias: b, ``[out]``, or None.
        weight_scale: s_w.
        bias_scale: s_b.
        stride: step of the filters.
        padding: zeros put around the image.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        weight_scale: float,
        bias_scale: float,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))
        self.weight_scale = weight_scale
        self.bias_scale = bias_scale
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: ``[batch, in, height, width]``.

        Returns:
            ``[batch, out, height', width']``.
        """
        shift = None if self.bias is None else self.bias * self.bias_scale
        return F.conv2d(x, self.weight * self.weight_scale, shift, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Name the sizes and factors in ``print(model)``."""
        out, into, kernel, _ = self.weight.shape
        return (
            f"{into}, {out}, kernel_size={kernel}, stride={self.stride}, padding={self.padding}, "
            f"bias={self.bias is not None}, weight_scale={self.weight_scale:.4g}"
        )
