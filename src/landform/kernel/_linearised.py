"""A network replaced by its first-order Taylor expansion in the parameters, as a module like any other."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.utils import _pytree as pytree

from landform.derivatives import second_order_safe
from landform.errors import BadInput
from landform.layout import Layout
from landform.stacked import Stacked, Unstackable

# Typed as what they return here: without has_aux, a pair.
_jvp = cast("Callable[..., tuple[Any, Any]]", torch.func.jvp)
_vjp = cast("Callable[..., tuple[Any, Callable[[Any], Any]]]", torch.func.vjp)

Network: TypeAlias = Callable[..., Any]
"""Parameters by name (and, if wanted, other inputs) to what the network puts out."""

_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


class Linearised(nn.Module):
    """``f(x; theta_0) + J(x) (theta - theta_0)``, mixed into a copy of the network f.

    It has the parameters, the layout and the state dict of the network; its parameters are theta. It is always in
    evaluation mode: dropout is off and BatchNorm's statistics are constants, whatever is asked of it.

    Attributes:
        linearised_at: theta_0, ``[P]``; a buffer that is no part of the state dict.
    """

    linearised_at: Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the expansion on a batch.

        Args:
            *args: what the network takes.
            **kwargs: likewise.

        Returns:
            What the network returns, with every tensor in it expanded.
        """
        layout: Layout = self.__dict__["_taylor_layout"]
        places: list[tuple[dict[str, Tensor], str, str]] = self.__dict__["_taylor_places"]
        now = {name: home[key] for home, key, name in places}
        if any(isinstance(tensor, Stacked) for tensor in now.values()):
            raise Unstackable("a linearised model is evaluated at one point at a time")
        onset = {name: view.to(now[name].dtype) for name, view in layout.views(self.linearised_at.detach()).items()}
        moved = {name: now[name] - onset[name] for name in onset}

        given, structure = pytree.tree_flatten((args, kwargs))

        def f(parameters: Mapping[str, Tensor], leaves: list[Any] = given) -> Any:
            taken, named = pytree.tree_unflatten(leaves, structure)
            with self._filled(parameters):
                return super(Linearised, self).forward(*taken, **named)

        with self._differentiable():
            if torch.is_grad_enabled() and any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in given):
                return self._expand_by_inputs(f, onset, moved, given)
            return pytree.tree_map(torch.add, *self._expand(f, onset, moved))

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode.

        Args:
            mode: of no effect.

        Returns:
            The module.
        """
        super().train(False)
        return self

    def _expand(self, f: Network, onset: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> tuple[Any, Any]:
        """The network's outputs at theta_0, and how they change along ``moved``.

        Forward mode is exact for the change and for its gradient by ``moved``. Where an operation has no forward mode,
        the product is that of a transposed transpose.
        """
        if not self.__dict__.get("_taylor_reverse", False):
            _load_forward_mode()
            try:
                return _jvp(f, (onset,), (moved,))
            except NotImplementedError:
                self.__dict__["_taylor_reverse"] = True
        values, back = _vjp(f, onset)
        nothing = pytree.tree_map(torch.zeros_like, values)
        _, forth = _vjp(lambda v: back(v)[0], nothing)
        (changes,) = forth(dict(moved))
        return values, changes

    def _expand_by_inputs(
        self, f: Network, onset: Mapping[str, Tensor], moved: Mapping[str, Tensor], given: list[Any]
    ) -> Any:
        """The same where a gradient by the inputs is wanted, as of adversarial examples.

        That of J(x) (theta - theta_0) is a mixed second derivative of the network. Differentiating either product above
        once more makes it a third one, silently wrong on LayerNorm and InstanceNorm in torch 2.13 (in tests by 51% and
        13% of its length). Reverse over reverse is right, so the gradient is written down as that; it cannot be
        differentiated again.
        """
        wanted = [i for i, leaf in enumerate(given) if isinstance(leaf, Tensor) and leaf.requires_grad]
        structure: list[Any] = []

        def at(leaves: Sequence[Tensor]) -> Callable[[Mapping[str, Tensor]], Any]:
            held = list(given)
            for i, leaf in zip(wanted, leaves, strict=True):
                held[i] = leaf
            return lambda parameters: f(parameters, held)

        class Expansion(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Tensor) -> Any:
                leaves = [tensor.detach() for tensor in tensors[: len(wanted)]]
                changes = dict(zip(moved, (tensor.detach() for tensor in tensors[len(wanted) :]), strict=True))
                ctx.save_for_backward(*leaves, *changes.values())
                found = pytree.tree_map(torch.add, *self._expand(at(leaves), onset, changes))
                flat, shape = pytree.tree_flatten(found)
                structure.append(shape)
                return tuple(flat)

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *cotangents: Tensor) -> Any:
                leaves = [leaf.detach().requires_grad_() for leaf in ctx.saved_tensors[: len(wanted)]]
                changes = ctx.saved_tensors[len(wanted) :]
                roots = {name: tensor.detach().requires_grad_() for name, tensor in onset.items()}
                with torch.enable_grad(), self._differentiable():
                    outputs = pytree.tree_leaves(at(leaves)(roots))
                    inner = torch.stack([(u * out).sum() for u, out in zip(cotangents, outputs, strict=True)]).sum()
                    own = torch.autograd.grad(
                        inner, list(roots.values()), create_graph=True, allow_unused=True, materialize_grads=True
                    )
                    mixed = torch.stack([(g * change).sum() for g, change in zip(own, changes, strict=True)]).sum()
                    by_inputs = torch.autograd.grad(inner + mixed, leaves, allow_unused=True)
                return (*by_inputs, *(g.detach() for g in own))

        flat = Expansion.apply(*(given[i] for i in wanted), *moved.values())  # type: ignore[no-untyped-call]
        return pytree.tree_unflatten(flat, structure[0])

    @contextmanager
    def _filled(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Run the network with other parameters in place of its own."""
        places: list[tuple[dict[str, Any], str, str]] = self.__dict__["_taylor_places"]
        before = [home[key] for home, key, _ in places]
        recurrent = [module for module in self.modules() if isinstance(module, nn.RNNBase)]
        flat = [module._flat_weights for module in recurrent]
        try:
            for home, key, name in places:
                home[key] = parameters[name]
            for module in recurrent:
                module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
            yield
        finally:
            for (home, key, _), tensor in zip(places, before, strict=True):
                home[key] = tensor
            for module, weights in zip(recurrent, flat, strict=True):
                module._flat_weights = weights

    @contextmanager
    def _differentiable(self) -> Iterator[None]:
        """Fused attention, and the recurrent layers of oneDNN and cuDNN, have no forward mode: plain ones have."""
        fast = torch.backends.mha.get_fastpath_enabled()
        recurrent = any(isinstance(module, nn.RNNBase) for module in self.modules())
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            # Operators have a mode that replaces convolutions by a custom function, which has no forward mode.
            with torch._C.DisableTorchFunction(), second_order_safe() if recurrent else sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copied and pickled by the class of the network, since the class of the expansion is made on the way."""
        return _blank, (_network_of(type(self)),), self.__dict__


class FixedBatchNorm(_NormBase):
    """BatchNorm whose statistics are constants, in training too; state and parameters are BatchNorm's."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the running statistics.

        Args:
            x: ``[B, C, ...]``.

        Returns:
            The same shape.
        """
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def linearise(model: nn.Module, point: Tensor | None = None) -> nn.Module:
    """Replace a network by its first-order Taylor expansion in the parameters around a point.

    ``lf.train(lf.kernel.linearise(model), data, recipe)`` is then linearised ("Taylorised") training; after
    ``record.restore(model)`` it is so from any time of a run. The outputs f_0 at the start are kept, and training
    begins at ``theta = theta_0``. By matrix products, a forward and backward pass costs 5/3 of the network's own.

    Args:
        model: any module that ``torch.func`` can handle; it is copied and left alone. Buffers, BatchNorm's statistics
            among them, become constants.
        point: theta_0, ``[P]``; the model's own parameters by default.

    Returns:
        A module with the parameters, layout and state dict of the model, for a training loop, `Landscape`, `Recorder`.

    Raises:
        BadInput: when the point is none of the model's, or the model cannot be copied or linearised.
    """
    if isinstance(model, Linearised):
        raise BadInput("The model is linearised already, and would stay what it is: give the network itself.")
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput("A scripted module cannot be linearised: give the module it was made from.")
    layout = Layout.of(model)
    onset = layout.point(model) if point is None else point
    layout.check(onset)
    if onset.dim() != 1 or not bool(torch.isfinite(onset).all()):
        raise BadInput(f"A network is linearised at one finite point, [{layout.size}].")
    try:
        net = copy.deepcopy(model)
    except (RuntimeError, TypeError, AttributeError) as why:
        said = str(why).splitlines()[0]
        raise BadInput(
            f"{type(model).__name__} cannot be copied ({said}): it keeps what is no state of its own, such as an "
            "activation or an open file; delete it first."
        ) from why
    if hasattr(net, "linearised_at"):
        raise BadInput("The model has an attribute linearised_at, which the expansion needs: rename it.")
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            if module.running_mean is None:
                raise BadInput(
                    f"BatchNorm {name or 'itself'} keeps no running statistics, so what it puts out depends on the "
                    "batch and cannot be linearised: give one with track_running_stats=True."
                )
            object.__setattr__(module, "__class__", FixedBatchNorm)
    owners = {**{name: name for name in layout.names}, **(layout.tied or {})}
    net.__dict__["_taylor_places"] = [
        (module._parameters, key, owners[full])
        for prefix, module in net.named_modules(remove_duplicate=False)
        for key in module._parameters
        if (full := f"{prefix}.{key}" if prefix else key) in owners
    ]
    net.__dict__["_taylor_layout"] = layout
    object.__setattr__(net, "__class__", _class_of(type(net)))
    onset = onset.detach().to(next(net.parameters()).device, copy=True)
    net.register_buffer("linearised_at", onset, persistent=False)
    layout.load_(net, onset)
    net.zero_grad(set_to_none=True)
    return net.train(False)


@functools.cache
def _load_forward_mode() -> None:
    """Let torch load its rules of forward mode, once: in doing so it warns of a function of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _class_of(network: type[nn.Module]) -> type[nn.Module]:
    """The class of a network's expansion, made once."""
    if network not in _CLASSES:
        _CLASSES[network] = type(
            f"Linearised{network.__name__}", (Linearised, network), {"__module__": network.__module__}
        )
    return _CLASSES[network]


def _network_of(expansion: type) -> type[nn.Module]:
    return cast("type[nn.Module]", expansion.__mro__[2])


def _blank(network: type[nn.Module]) -> nn.Module:
    made = _class_of(network)
    return made.__new__(made)
