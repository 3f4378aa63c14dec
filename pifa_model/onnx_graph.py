"""A graph of ONNX operations, written node by node.

Written and not traced: PyTorch's exporters keep one node for each of its small operations, which at batch 1 is most of
the time, and need seconds and two more packages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pifa_data.errors import CheckpointError, ConfigError

OPSET, IR_VERSION = 18, 9
"""The oldest that have ScatterElements with a minimum and Col2Im, so that older runtimes read the file too."""

Shape = tuple[int | str, ...]


class Graph:
    """Nodes and constants so far. A value is known by its name, a ``str``."""

    def __init__(self) -> None:
        """Raises ConfigError if onnx is not installed."""
        try:
            import onnx
        except ImportError as error:
            raise ConfigError("ONNX files need the package onnx: pip install 'pifa[onnx]'") from error
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: type, shape: Shape) -> str:
        """An input of the graph; a dimension is a number or, if it may be any, a name."""
        self._inputs.append(self._described(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: type, shape: Shape) -> None:
        """Give a value out under a name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._described(name, dtype, shape))

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """The name of an array; equal arrays have one."""
        array: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
        array = array.reshape(np.shape(values))  # which gave a number a dimension
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def integers(self, *values: int) -> str:
        """The name of an int64 array of one dimension."""
        return self.constant(values, np.int64)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; gives its name."""
        return self.split(kind, *inputs, count=1, **attributes)[0]

    def split(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """A node with several outputs; gives their names."""
        names = [f"v{len(self._nodes)}_{i}" for i in range(count)]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def reshape(self, value: str, *shape: int) -> str:
        """With another shape; one dimension may be −1, 0 keeps the one at its place."""
        return self.add("Reshape", value, self.integers(*shape))

    def parts(self, value: str, *sizes: int, axis: int) -> list[str]:
        """Cut into parts of these sizes along an axis."""
        return self.split("Split", value, self.integers(*sizes), count=len(sizes), axis=axis)

    def slice(self, value: str, first: int, last: int, axis: int) -> str:
        """Elements ``first`` to before ``last`` along an axis."""
        return self.add("Slice", value, *(self.integers(n) for n in (first, last, axis)))

    def for_all(self, value: Any, batch: str) -> str:
        """An array ``(1, ...)`` for each of a batch, whose number is a value ``(1,)`` int64."""
        rest = self.integers(*np.shape(value)[1:])
        return self.add("Expand", self.constant(value), self.add("Concat", batch, rest, axis=0))

    def model(self, name: str, metadata: dict[str, str]) -> Any:
        """The graph as an ``onnx.ModelProto``, its types and shapes checked.

        Raises:
            CheckpointError: they do not fit each other: the program is at fault.
        """
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="pifa", opset_imports=opset, ir_version=IR_VERSION)
        helper.set_model_props(model, metadata)
        try:
            self._onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # of several kinds, which have no base of their own
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"the network makes no valid ONNX graph ({reason}); use --runtime torch") from error
        return model

    def _described(self, name: str, dtype: type, shape: Shape) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, shape)
