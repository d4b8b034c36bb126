"""What an encoder is, described once: every family, no torch and no onnx."""
