"""TensorRT and TensorRT-RTX: one lowered graph, one builder in a process of its own."""
