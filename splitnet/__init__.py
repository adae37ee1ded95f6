"""splitnet: run a neural network partly on a small device and partly in the cloud.

Importing this package loads none of torch, onnx, ray or zmq; each room loads what it needs.
"""

__version__ = "0.1.0"
