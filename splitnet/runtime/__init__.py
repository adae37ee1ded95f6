"""The runtime: the only room that touches onnxruntime, and what prepares and reads its tensors."""
