"""Export of towers as ONNX, OpenVINO and TensorRT engines; each is compared with torch before use."""
