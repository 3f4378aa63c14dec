"""The whole network as ONNX operations: the same as ``network.py`` and ``block.py``, for ``for_inference``'s copy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pifa_model.block import POOLED, VisualizationBlock
from pifa_model.network import Network
from pifa_model.onnx_graph import Graph
from pifa_model.onnx_layer import Layer


def add_network(graph: Graph, network: Network, images: str, batch: str) -> tuple[list[str], str | None]:
    """Add a network as ``for_inference`` gives it.

    Args:
        graph: where to.
        network: without batch norms, its first map drawn.
        images: ``(N, S, S, 3)`` uint8.
        batch: N, ``(1,)`` int64.

    Returns:
        P at P⁰ and after each block, each ``(N, 8 + K)``; and, of a network with `uncertainty`, the log standard
        deviations after the last block ``(N, L)``.
    """
    x = graph.add("Transpose", graph.add("Cast", images, to=1), perm=[0, 3, 1, 2])
    x = graph.add("Mul", graph.add("Sub", x, graph.constant(127.5)), graph.constant(1 / 64))
    layer, stride = Layer(graph, network, batch), network.stride
    params = graph.for_all(network.initial[None], batch)
    stages, features, spread = [params], "", None
    for index, block in enumerate(network.blocks):
        assert isinstance(block, VisualizationBlock)  # for the type checker
        if index == 0:
            # Every face starts from P⁰: its map and its anchors are constants.
            first = [x, graph.for_all(network.first_map, batch)] if "map" in network.inputs else [x]
            features = _features(graph, block.features, [graph.add("Concat", *first, axis=1)], network, stride // 2)
            places = ""
            if network.anchors is not None:
                start = network.anchors(network.initial[None], network.size // stride * stride)
                places = graph.for_all(start[:, :, None], batch)
        else:
            if index == 1:
                x = graph.add("AveragePool", x, kernel_shape=[stride] * 2, strides=[stride] * 2)
            v, places = layer.add(params)
            seen = {"image": x, "features": features, "map": v}
            features = _features(graph, block.features, [seen[name] for name in network.inputs], network)
        hidden = graph.add("Relu", _linear(graph, _read(graph, block, features, places), block.update[0]))
        params = graph.add("Add", params, _linear(graph, hidden, block.update[-1], network.step))
        if network.camera == "rotation":
            params = _nearest_rotation(graph, params, len(network.initial) - 8)
        stages.append(params)
        if block.spread is not None and index == len(network.blocks) - 1:
            spread = _linear(graph, hidden, block.spread)
    return stages, spread


def _read(graph: Graph, block: VisualizationBlock, features: str, places: str) -> str:
    """What the fully connected layers see, ``(N, numbers)``."""
    if block.head == "sample":
        features = graph.add("GridSample", features, places, mode="bilinear", padding_mode="zeros", align_corners=0)
    elif block.head == "pool":
        stride = max(1, block.size // POOLED)
        cell = block.size - (POOLED - 1) * stride
        features = graph.add("AveragePool", features, kernel_shape=[cell] * 2, strides=[stride] * 2)
    return graph.add("Flatten", features)


def _linear(graph: Graph, value: str, layer: nn.Module, scale: Tensor | None = None) -> str:
    assert isinstance(layer, nn.Linear)  # for the type checker
    weight, bias = (layer.weight, layer.bias) if scale is None else (layer.weight * scale[:, None], layer.bias * scale)
    return graph.add("Gemm", value, graph.constant(weight.T), graph.constant(bias))


def _features(graph: Graph, layers: nn.Module, inputs: list[str], network: Network, by: int = 1) -> str:
    """A block's convolutions; the first on maps of `by`x`by` pixels as channels."""
    assert isinstance(layers, nn.Sequential)  # for the type checker
    value = ""
    for number, layer in enumerate(layers):
        plain = layer[0] if isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.Conv2d) else None
        if isinstance(layer, nn.MaxPool2d):
            value = graph.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        elif number or plain is None:
            if not number:
                value = inputs[0] if len(inputs) == 1 else graph.add("Concat", *inputs, axis=1)
                value = _unshuffled(graph, value, network, by) if by > 1 else value
            value = _convolution(graph, layer, value)
        elif len(inputs) == 1:
            value = graph.add("Relu", _convolved(graph, inputs[0], plain, plain.weight, plain.bias, by))
        else:
            value = graph.add("Relu", _of_parts(graph, dict(zip(network.inputs, inputs, strict=True)), plain))
    return value


def _convolution(graph: Graph, layer: nn.Module, value: str) -> str:
    """What ``block.convolution`` makes, of any kind."""
    if isinstance(layer, nn.Conv2d):
        return _convolved(graph, value, layer, layer.weight, layer.bias)
    if isinstance(layer, nn.Sequential):
        for part in layer:
            value = _convolution(graph, part, value)
        return value
    if isinstance(layer, nn.ReLU):
        return graph.add("Relu", value)
    if isinstance(layer, nn.Identity):
        return value
    change, keep = (_convolution(graph, layer.get_submodule(name), value) for name in ("change", "keep"))
    return graph.add("Relu", graph.add("Add", change, keep))


def _convolved(graph: Graph, value: str, layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, by: int = 1) -> str:
    """A convolution as the layer's, of this weight and bias.

    One of `by`x`by` pixels as channels is one of a larger kernel and stride on the pixels themselves.
    """
    out, channels, height, width = weight.shape
    weight = weight.reshape(out, channels // by**2, by, by, height, width).permute(0, 1, 4, 2, 5, 3)
    weight = weight.reshape(out, channels // by**2, height * by, width * by)
    return graph.add(
        "Conv",
        value,
        graph.constant(weight),
        *([] if bias is None else [graph.constant(bias)]),
        kernel_shape=[height * by, width * by],
        strides=[by] * 2,
        pads=[int(p) * by for p in layer.padding] * 2,
        group=layer.groups,
    )


def _of_parts(graph: Graph, inputs: dict[str, str], layer: nn.Conv2d) -> str:
    """A convolution of several inputs: of the features alone, and of the image and V, added.

    So the features, which are most channels, need not leave the runtime's blocked order to be joined.
    """
    widths = {"image": 3, "map": 1}
    widths["features"] = layer.in_channels - sum(width for name, width in widths.items() if name in inputs)
    weights = dict(zip(inputs, layer.weight.split([widths[name] for name in inputs], 1), strict=True))
    parts = []
    if "features" in inputs:
        parts.append(_convolved(graph, inputs.pop("features"), layer, weights.pop("features"), None))
    others = graph.add("Concat", *inputs.values(), axis=1)
    parts.append(_convolved(graph, others, layer, torch.cat([*weights.values()], 1), layer.bias))
    return graph.add("Add", *parts) if len(parts) == 2 else parts[0]


def _unshuffled(graph: Graph, value: str, network: Network, by: int) -> str:
    """`by`x`by` pixels as channels; as in ``Network`` those of the image come before those of V."""
    side = network.size // by
    cut = graph.reshape(value, 0, -1, side, by, side, by)
    return graph.reshape(
        graph.add("Transpose", cut, perm=[0, 1, 3, 5, 2, 4]), 0, sum(network.channels_of(0).values()), side, side
    )


def _nearest_rotation(graph: Graph, params: str, coefficients: int) -> str:
    """``shape.nearest_rotation``."""
    camera, p = graph.parts(params, 8, coefficients, axis=1)
    a, shift = graph.parts(graph.reshape(camera, -1, 2, 4), 3, 1, axis=2)
    g = graph.add("MatMul", a, graph.add("Transpose", a, perm=[0, 2, 1]))
    flat = graph.reshape(g, -1, 4)
    trace = graph.add("MatMul", flat, graph.constant([[1.0], [0.0], [0.0], [1.0]]))
    first, second, _, last = graph.parts(flat, 1, 1, 1, 1, axis=1)
    determinant = graph.add("Sub", graph.add("Mul", first, last), graph.add("Mul", second, second))
    least = graph.add("Mul", graph.add("Mul", trace, trace), graph.constant(1e-12))
    d = graph.reshape(graph.add("Sqrt", graph.add("Max", determinant, least)), -1, 1, 1)
    whole = graph.add("Add", graph.reshape(trace, -1, 1, 1), d)
    adjugate = graph.add("Sub", graph.add("Mul", whole, graph.constant(np.eye(2))), g)
    half = graph.add("Mul", graph.add("MatMul", adjugate, a), graph.constant(0.5))
    turned = graph.add("Concat", graph.add("Div", half, d), shift, axis=2)
    return graph.add("Concat", graph.reshape(turned, -1, 8), p, axis=1)
