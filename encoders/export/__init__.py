"""Towers as ONNX, OpenVINO and TensorRT engines, each gated against torch."""
