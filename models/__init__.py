"""The weights: which there are (`manifest`), how they get here (`pull`), how other formats become ONNX (`convert`).

Free of the model runtime, and of network access at import.
"""
