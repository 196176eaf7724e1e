"""ONNX decoder models, on onnxruntime."""
