"""The tangent kernel, and everything one does with a kernel."""
